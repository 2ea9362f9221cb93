"""Check an experiment against the files of its models before any work, without loading weights."""

from contextlib import nullcontext, suppress

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from headrank.errors import ConfigError
from headrank.experiment import MAIN_SYSTEM, Experiment
from headrank.heads import GivenHeads
from headrank.model import PromptBuilder, check_backbone, count_layers
from headrank.model.chat_templates import check_embeddings
from headrank.stages.select import heads_name


def check_model(experiment: Experiment) -> None:
    """Check that the models of an experiment can be used, and that they have the layers and heads that it names.

    This covers the models of its rerankers and the chat templates. It reads configurations, tokenizers and the headers
    of weight files. If the run folder already has `heads.json`, a missing model is ignored, because the run may be
    finished.

    Raises `ConfigError` for a wrong template, layer or head, and `ModelError` for a model that is missing or cannot be
    used.
    """
    started = (experiment.folder / heads_name(MAIN_SYSTEM)).is_file()
    for _, settings in experiment.keyed_rerankers:
        check = getattr(settings, "check_model", None)
        if check is not None:
            with suppress(OSError) if started else nullcontext():
                check(experiment.model)
    try:
        config, tokenizer, _ = check_backbone(experiment.model)
        layers, width = count_layers(experiment.model)
    except OSError:
        if not started:
            raise
        return
    most = experiment.reading.max_layer
    if most is not None and most > layers:
        raise ConfigError(f"reading.max_layer is {most}, expected at most the model's layers, {layers}")
    depth = most or layers
    check_chat_templates(experiment, config, tokenizer)
    for name, system in experiment.systems.items():
        key = "selection" if name == MAIN_SYSTEM else f"baselines.{name}"
        if system.heads is not None and system.heads > depth * width:
            raise ConfigError(
                f"{key}.heads is {system.heads}, expected at most {depth * width}: the heads of {depth} layers"
            )
        if isinstance(system.criterion, GivenHeads):
            for layer, head in system.criterion.heads:
                if layer >= depth or head >= width:
                    raise ConfigError(
                        f"{key}.criterion.heads has [{layer}, {head}], expected layers from 0 to {depth - 1} and heads "
                        f"from 0 to {width - 1}"
                    )


def check_chat_templates(experiment: Experiment, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `ConfigError` if the model has no embedding for a token of a system's chat template.

    Args:
        experiment: the experiment, with the chat templates of its systems.
        config: the configuration of the experiment's model.
        tokenizer: the tokenizer of the experiment's model.
    """
    for system in experiment.systems.values():
        check_embeddings(PromptBuilder(tokenizer, system.prompt).chat_template, tokenizer, config)
