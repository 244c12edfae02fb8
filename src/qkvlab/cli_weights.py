"""The commands about a checkpoint itself: its anatomy, one head's weights, its circuits, fewer K/V heads."""

from collections.abc import Callable
from pathlib import Path

import click

from .cli_common import open_model_with_bar, print_json, say, with_bars, with_progress
from .cli_options import TextFile, allow_config, as_json


@click.command()
@click.argument("model")
@click.option(
    "--context", type=click.IntRange(1), help="Tokens to count the K/V cache for; default: the model's limit."
)
@allow_config
@as_json
def inspect(model: str, context: int | None, allow_config: tuple[str, ...], json_: bool) -> None:
    """Show the anatomy of a checkpoint of any family, from its headers alone.

    The headers of a model that is not on this machine are read on the Hugging Face hub; nothing is downloaded.
    """
    from . import anatomy

    found = with_progress(
        lambda progress: anatomy.inspect(model, context=context, allow_config=allow_config, progress=progress), model
    )
    if json_:
        print_json(found.to_dict())
        return
    from . import show

    show.stdout_console().print(show.anatomy(found))


@click.command()
@click.argument("model")
@click.argument("head")
@click.option(
    "--attention", type=click.Choice(["decoder", "encoder", "cross"]), default="decoder", show_default=True,
    help="Of a model with an encoder and a decoder: which of its attentions the head is of.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write them to this file.")
@as_json
def weights(model: str, head: str, attention: str, output: Path | None, json_: bool) -> None:
    """Show one head's own weights, straight from the files.

    No model is built, and only this head's part of the files is read; of a model that is not on this machine, from
    the Hugging Face hub. HEAD is layer.head, as 13.8.
    """
    from . import headweights

    found = with_progress(
        lambda progress: headweights.weights(model, head, attention=attention, progress=progress), model
    )
    if output is not None:
        headweights.save_head(found, output)
    if json_:
        print_json(headweights.summary(found) | {"output": output})
        return
    from . import show

    show.stdout_console().print(show.head_weights(headweights.summary(found)))
    if output is not None:
        say(f"wrote {output}")


@click.command()
@click.argument("model")
@click.option("--head", metavar="HEAD", help="One head, as layer.head, with its singular values and rotation pairs.")
@allow_config
@click.option(
    "--top", type=click.IntRange(1), metavar="N", default=10, show_default="10", help="Heads or pairs to show."
)
@as_json
def circuits(model: str, head: str | None, allow_config: tuple[str, ...], top: int, json_: bool) -> None:
    """Measure a model's QK and OV circuits, from its weights alone.

    Symmetry and direction of W_q W_k, layer by layer beside random matrices of the same shapes; effective ranks; the
    copying score; a head's share of every rotation pair.
    """
    from . import circuit_report
    from .circuit_source import open_circuit_source

    source = with_progress(
        lambda progress: open_circuit_source(model, progress=progress, allow_config=allow_config), model
    )
    found = circuit_report.head_card(source, head) if head else circuit_report.circuits(source)
    if json_:
        print_json(found.to_dict())
        return
    from . import show, show_parts

    if isinstance(found, circuit_report.HeadCard):
        shown = show_parts.head_card(found, top)
    else:
        shown = show_parts.circuits(found, top)
    show.stdout_console().print(shown)


@click.command()
@click.argument("model")
@click.option("--kv-heads", type=int, required=True, metavar="N", help="How many K/V heads are left in each layer.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The new folder.")
@click.option(
    "--method", default="mean", show_default=True, metavar="METHOD",
    help="mean, first or random (drawn anew) of each group; cluster: the heads most alike share; aligned: the heads of "
    "a group are turned towards each other first.",
)  # fmt: skip
@click.option(
    "--layers", metavar="RANGE", help="Layers to group, as 0-29, last:10 or 3,5; default: all. Some only: to measure."
)
@click.option(
    "--text", "text", type=TextFile(), metavar="FILE",
    help="What it is fitted and measured on; default: a text of some 250 tokens shipped with QKV Lab.",
)  # fmt: skip
@click.option(
    "--dtype", metavar="TYPE",
    help="float32, float16 or bfloat16; default: the file's own, float32 for the quantised numbers of a GGUF.",
)  # fmt: skip
@allow_config
@as_json
def group(
    model: str,
    kv_heads: int,
    output: Path,
    method: str,
    layers: str | None,
    text: str | None,
    dtype: str | None,
    allow_config: tuple[str, ...],
    json_: bool,
) -> None:
    """Write a checkpoint with fewer K/V heads, and say what that costs.

    The folder holds config.json, safetensors and the tokenizer, as transformers loads them (Ainslie et al. 2023).
    """
    from . import regroup

    opened = open_model_with_bar(model, allow_config, quiet=json_)
    chosen = regroup.choose_layers(layers, opened.spec) if layers is not None else None

    def work(progress: Callable[[str, int, int], None]) -> "regroup.Grouping":
        return regroup.group(
            opened, kv_heads, output, method=method, layers=chosen, text=text, dtype=dtype, progress=progress
        )

    found = work(lambda what, done, of: None) if json_ else with_bars(work)
    if json_:
        print_json(found.to_dict())
        return
    from . import show

    show.stdout_console().print(show.grouping(found))
