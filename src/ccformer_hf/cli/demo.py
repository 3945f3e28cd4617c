"""`ccformer demo`: the page on which clips are dropped, on one's own machine."""

import argparse

from .arguments import add_command, needs_extra, quiet_transformers

DEMO_EXAMPLES = """\
examples:
  ccformer demo                          the checkpoint that ships with the package, at http://127.0.0.1:7860
  ccformer demo --model runs/mine/best   a model folder of your own, or owner/name on the Hugging Face Hub
  ccformer demo --host 0.0.0.0           for everyone in your network
"""


def add_demo(commands) -> None:
    """Adds the command to the parser's commands."""
    demo = add_command(
        commands,
        "demo",
        help="try it in the browser",
        description="Serves a page in the browser: drop a clip, and see what sounds in it. "
        "The same page runs as a Space on the Hub.",
        epilog=DEMO_EXAMPLES,
    )
    add = demo.add_argument
    add(
        "--model",
        help="model folder or Hub id (default: $CCFORMER_MODEL, else ccformer-small, which ships with the package)",
    )
    add("--host", help="address to listen on (default: this machine only)")
    add("--port", type=int, help="default: the first free one from 7860 on")
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    needs_extra("demo", "ccformer demo", "gradio")
    from ..demo.app import launch

    quiet_transformers()
    launch(options.model, options.host, options.port)
    return 0
