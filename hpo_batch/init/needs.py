"""What a script needs although no option requires it: data where its default says, and a GPU. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import Final

from hpo_batch.init.option import Kind, Option, Script
from hpo_batch.text.metric_names import words

_DATA: Final = words("data dataset datasets corpus coco imagenet")
_PLACES: Final = words("path paths dir directory folder root file csv")
# words of options that name something else than the data: results, and what a training may begin with
_OTHERS: Final = words(
    "out output save log logs result results checkpoint ckpt resume config cfg weights pretrained cache tmp export run "
    "exp model tokenizer vocab init load class map name"
)
_TEMPORARY: Final = ("/tmp/", "/var/tmp/", "/dev/shm/")
_DEVICES: Final = ("cuda", "gpu")


def with_needs(script: Script, *, exists: Callable[[str], bool]) -> Script:
    """A script whose options say what they need.

    A flag's options are not searched without the flag, and data that cannot be where the default says has to be named.

    Args:
        script: with its options.
        exists: whether a file or folder does.
    """
    flags = [one for one in script.options if one.is_flag and one.default is False and not one.is_typed]
    options = []
    for option in script.options:
        flag = next((one for one in flags if _belongs(option, one)), None)
        default = option.default
        if flag is not None and not option.why_left and not option.is_required:
            option = replace(option, why_left=f"has an effect only with {flag.flag}")
        elif _is_of_data(option) and isinstance(default, str) and _is_elsewhere(default) and not exists(default):
            option = replace(option, is_required=True, why_left=f"the script's default, '{default}', is not here")
        options.append(option)
    return replace(script, options=tuple(options))


def needs(script: Script, *, has_gpu: bool, exists: Callable[[str], bool]) -> Iterator[str]:
    """What to see to before the sweep runs, one sentence each.

    Args:
        script: with its options.
        has_gpu: whether this machine has one.
        exists: whether a file or folder does.
    """
    told = []
    for option in script.options:
        if not _is_of_data(option) or option.is_required:
            continue
        if not option.default:
            told.append(f"{option.flag} has no default")
        elif "/" in str(option.default) and not exists(str(option.default)):
            told.append(f"{option.flag} is '{option.default}' by default, which is not here")
    if told:
        yield f"see that {script.path.name} finds its data, or name it in the command: {'; '.join(told)}"
    for option in script.options:
        if option.words == "device" and str(option.default).startswith(_DEVICES) and not (has_gpu or option.is_typed):
            cpu = f"{option.flag}=cpu" if script.is_hydra or script.has_equals else f"{option.flag} cpu"
            yield (
                f"{option.flag} is '{option.default}' by default, and this machine has no GPU: to run here, add "
                f"'{cpu}' to the command"
            )


def _belongs(option: Option, flag: Option) -> bool:
    """Whether an option is one of a flag: ``--model-ema-decay`` of ``--model-ema``."""
    name, of = option.name.replace("-", "_"), flag.name.replace("-", "_")
    return name.startswith(f"{of}_") and option.flag != flag.flag


def _is_of_data(option: Option) -> bool:
    parts = set(option.words.split("_"))
    is_place = bool(parts & _PLACES) or option.kind is Kind.PATH or "/" in str(option.default)
    is_text = option.kind in (Kind.TEXT, Kind.PATH, Kind.UNKNOWN) and not option.is_flag and not option.is_typed
    return is_text and is_place and bool(parts & _DATA) and not parts & _OTHERS and not option.is_positional


def _is_elsewhere(default: str) -> bool:
    """Whether no script would make such a folder: it has a place of its own on some other machine."""
    return PurePath(default).is_absolute() and not f"{default}/".startswith(_TEMPORARY)
