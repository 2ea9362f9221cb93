"""Models that cannot be read are refused, by every loader, and nothing that comes with a model runs."""

import io
import sys

import pytest
from transformers import AutoConfig

from headrank.baselines.cross_encoder import open_cross_encoder
from headrank.baselines.language_model import load_language_model
from headrank.errors import ConfigError, ModelError
from headrank.model import BackboneSettings, count_layers, count_parameters, load_backbone, load_tokenizer, model_shape
from tests.model.loading.saved_models import WEIGHTS, change_json, change_weights, settings, without
from tests.tiny import tiny_tokenizer

CODE = "from pathlib import Path\nPath({!r}).write_text('was run')\nraise SystemExit('was run')\n"


@pytest.mark.parametrize("part", ["classifier", "encoder.layer.1.output", "word_embeddings"])
def test_a_cross_encoder_without_some_weights_is_refused(part, encoder):
    change_weights(encoder, without(part))
    with pytest.raises(ModelError, match=part.replace(".", r"\.")):
        open_cross_encoder(settings(encoder))


@pytest.mark.parametrize("task", ["sequence-classification", "feature-extraction"])
def test_a_cross_encoder_of_modules_is_checked_as_the_library_opens_it(task, encoder, tmp_path):
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [Transformer(str(encoder), transformer_task=task)]
    if task == "feature-extraction":
        dense = Dense(32, 1, module_input_name="sentence_embedding", module_output_name="scores")
        modules += [Pooling(32, "cls"), dense]
    folder = tmp_path / "modules"
    CrossEncoder(modules=modules, device="cpu").save_pretrained(str(folder))
    opened = open_cross_encoder(settings(folder))
    assert len(opened.predict([("moon", "tides"), ("moon", "bread")])) == 2
    change_weights(folder, without("encoder.layer.1.output"))
    with pytest.raises(ModelError, match=r"encoder\.layer\.1\.output"):
        open_cross_encoder(settings(folder))


def test_a_saved_reranker_is_no_cross_encoder(decoder, tmp_path):
    from headrank import Reranker

    Reranker.from_pretrained(decoder, [(0, 1)], device="cpu").save(tmp_path / "saved")
    with pytest.raises(ModelError, match=r"Reranker\.from_pretrained"):
        open_cross_encoder(settings(tmp_path / "saved"))
    with pytest.raises(ModelError, match=r"score\.weight"):  # a plain decoder has no such head
        open_cross_encoder(settings(decoder))


OPENERS = [load_backbone, load_language_model, open_cross_encoder, load_tokenizer, count_layers, count_parameters]


@pytest.fixture
def answers_yes(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n" * 100))
    monkeypatch.setattr("builtins.input", lambda *_: "yes")


@pytest.mark.parametrize("opener", OPENERS, ids=lambda opener: opener.__name__)
@pytest.mark.parametrize("known", [True, False], ids=["known-type", "unknown-type"])
def test_code_that_comes_with_a_model_never_runs(opener, known, generator, encoder, tmp_path, answers_yes):
    folder, mark = encoder if opener is open_cross_encoder else generator, tmp_path / "mark"
    for name in ("strange.py", "custom_generate/generate.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(CODE.format(str(mark)))
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    auto_map = dict.fromkeys(classes, "strange.Strange") | {"AutoTokenizer": ["strange.Strange", "strange.Fast"]}
    change_json(folder / "config.json", auto_map=auto_map, **({} if known else {"model_type": "strange"}))
    change_json(folder / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Strange")
    try:
        opener(settings(folder))
    except ModelError as error:
        assert str(folder) in str(error)  # noqa: PT017 (opening a known type without its code is right too)
        refused = True
    else:
        refused = False
    assert not mark.exists()
    if not known and opener is not load_tokenizer:
        assert refused


def test_a_type_that_needs_its_own_code_is_named(generator, answers_yes):
    change_json(generator / "config.json", model_type="strange", auto_map={"AutoConfig": "strange.Strange"})
    with pytest.raises(ModelError, match=r"config\.json.*'strange'.*auto_map"):
        load_backbone(settings(generator))


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"])
def test_a_kernel_that_a_configuration_names_is_not_used(key, generator, encoder, monkeypatch):
    def fetched(*_, **__):
        raise AssertionError("a kernel of the hub was asked for")

    monkeypatch.setattr("transformers.modeling_utils.is_kernel", lambda name: bool(name) and "/" in name)
    monkeypatch.setattr("transformers.modeling_utils.lazy_import_flash_attention", fetched)
    for folder in (generator, encoder):
        change_json(folder / "config.json", **{key: "some-org/flash-kernel"})
    backbone = load_backbone(settings(generator))
    assert backbone.model.config._attn_implementation == "headrank"
    assert load_language_model(settings(generator)).model.config._attn_implementation == "sdpa"
    assert load_backbone(settings(generator, random_weights=True)).depth == 2
    assert count_parameters(settings(generator)) > 0
    assert model_shape(settings(generator)).layers == 2
    assert open_cross_encoder(settings(encoder)).num_labels == 1
    assert open_cross_encoder(settings(encoder, random_weights=True)).num_labels == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '"qwen3"', "{}", "[" * 100_000, '{"model_type": 3}'])
def test_a_damaged_configuration_is_named(text, decoder):
    (decoder / "config.json").write_text(text)
    for load in (load_backbone, load_language_model, count_layers):
        with pytest.raises(ModelError, match=r"config\.json"):
            load(settings(decoder))


def test_impossible_values_in_a_configuration_are_named(decoder):
    change_json(decoder / "config.json", num_attention_heads="many")
    with pytest.raises(ModelError, match=r"config\.json.*num_attention_heads"):
        load_backbone(settings(decoder))


def test_a_tokenizer_beyond_the_embeddings_is_refused_before_weights_are_read(decoder, generator):
    for folder, load in ((decoder, load_backbone), (generator, load_language_model)):
        tiny_tokenizer(*[(a, b) for a in "xyz" for b in "xyz"]).save_pretrained(folder)
        change_json(folder / "config.json", vocab_size=260)
        (folder / WEIGHTS).write_bytes(b"not read")
        with pytest.raises(ModelError, match="vocab_size is 260"):
            load(settings(folder))


@pytest.mark.parametrize("token", ["<pad>", "\n\n\n", "<|im_start|>"])
def test_an_added_token_beyond_the_embeddings_is_refused_if_a_prompt_can_hold_it(token, decoder):
    tokenizer = tiny_tokenizer()
    if token == "<|im_start|>":  # of the model's chat template
        change_json(decoder / "config.json", vocab_size=tokenizer.convert_tokens_to_ids(token))
    else:
        change_json(decoder / "config.json", vocab_size=len(tokenizer))
        tokenizer.add_tokens([token])
    if token == "<pad>":
        tokenizer.pad_token = token
    tokenizer.save_pretrained(decoder)
    with pytest.raises(ModelError, match="no embedding"):
        load_backbone(settings(decoder))


def test_an_added_token_that_no_prompt_holds_is_accepted(decoder):
    """As Gemma 3's text models have one for images."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    tokenizer.save_pretrained(decoder)
    assert load_backbone(settings(decoder)).depth == 3


OTHER_MODELS = [
    "bert",
    "roberta",
    "modernbert",
    "t5",
    "gpt2",
    "gemma2",
    "gpt_oss",
    "qwen3_next",
    "mamba",
    "clip",
    "stablelm",
]


@pytest.mark.parametrize("family", OTHER_MODELS)
def test_models_whose_heads_cannot_be_read_are_refused_before_weights_are_read(family, decoder):
    AutoConfig.for_model(family).save_pretrained(decoder)
    (decoder / WEIGHTS).write_bytes(b"not read")
    with pytest.raises(ModelError, match=family):
        load_backbone(settings(decoder), depth=2)
    with pytest.raises(ModelError, match=family):
        model_shape(settings(decoder))  # the doctor's estimate of memory


def test_capped_attention_logits_are_refused_before_weights_are_read(decoder):
    AutoConfig.for_model("gemma2", attn_logit_softcapping=30.0).save_pretrained(decoder)
    (decoder / WEIGHTS).write_bytes(b"not read")
    with pytest.raises(ModelError, match=r"attn_logit_softcapping.*30\.0"):
        load_backbone(settings(decoder))
    (decoder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"attn_logit_softcapping.*30\.0"):
        load_backbone(settings(decoder, random_weights=True))


def test_an_adapter_is_not_a_whole_model(decoder):
    (decoder / "adapter_config.json").write_text('{"base_model_name_or_path": "some/model"}')
    for load in (load_backbone, load_language_model, open_cross_encoder):
        with pytest.raises(ModelError, match=r"adapter_config\.json"):
            load(settings(decoder))


@pytest.mark.parametrize("name", ["gpu", "GPU", "cuda:x", "meta", ""])
def test_a_device_that_is_none(name):
    with pytest.raises(ConfigError, match=r"model\.device") as error:
        BackboneSettings(device=name)
    assert name.lower() != "gpu" or "did you mean cuda" in str(error.value).lower()


@pytest.mark.parametrize("options", [{"device": "cuda:99"}, {"kernel": "flash_attention_2"}])
def test_a_device_or_a_kernel_that_is_not_here(options, decoder):
    """Before anything is read."""
    (decoder / "config.json").write_text("not read")
    for load in (load_backbone, load_language_model, open_cross_encoder):
        with pytest.raises(ConfigError, match=next(iter(options.values()))):
            load(BackboneSettings(str(decoder), **{"device": "cpu", **options}))
