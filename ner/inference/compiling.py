"""The encoder through torch.compile, where the same model tags much text."""

import torch

from ner.encoders.bert import Bert
from ner.errors import DataError
from ner.model.tagger import Tagger


def compile_encoder(tagger: Tagger) -> None:
    """Compiles the encoder at its first batch, for any shape of batch, in evaluation.

    On a CPU the weights become constants of the compiled program; they must not change any more.
    DataError: the encoder is not BERT or a relative, or there is no compiler.
    """
    if not isinstance(tagger.encoder, Bert):
        raise DataError("--compile: expected BERT or a relative of it, got another encoder")
    if tagger.device.type == "cpu":
        check_compiler()
        freeze_weights()
    tagger.encoder = torch.compile(tagger.encoder, dynamic=True)


def freeze_weights() -> None:
    """In all that is compiled from now on; `options` of torch.compile do not reach what lays weights out."""
    import torch._inductor.config  # a second, which programs that compile nothing need not spend

    torch._inductor.config.freezing = True


def check_compiler() -> None:
    """DataError where torch finds no C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise DataError(
            "--compile: no C++ compiler found, expected g++ or clang, or one named by CXX"
        ) from None
