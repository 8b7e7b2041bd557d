"""The commands of `weft`: each module defines `app`, a `typer.Typer`, listed in `weft_app.cli`."""
