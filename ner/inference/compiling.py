"""Compiles the encoder with torch.compile, which pays off if one model tags much text."""

import torch

from ner.errors import DataError
from ner.model.tagger import Tagger


def compile_encoder(tagger: Tagger) -> None:
    """Makes torch compile the encoder at its first batch, for batches of any shape, in evaluation.

    On a CPU the weights become constants of the compiled program, so they must not change afterwards.
    DataError if the encoder is not BERT or a relative, or if there is no compiler.
    """
    if not tagger.encoder.can_compile:
        raise DataError("--compile: expected BERT or a relative of it, got another encoder")
    if tagger.device.type == "cpu":
        check_compiler()
        freeze_weights()
    tagger.encoder = torch.compile(tagger.encoder, dynamic=True)


def freeze_weights() -> None:
    """Makes weights constants in everything that is compiled from now on.

    A global switch, because the `options` of torch.compile do not reach the part that lays out weights.
    """
    import torch._inductor.config  # here, because it takes a second

    torch._inductor.config.freezing = True


def check_compiler() -> None:
    """DataError if torch finds no C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise DataError(
            "--compile: no C++ compiler found, expected g++ or clang, or one named by CXX"
        ) from None
