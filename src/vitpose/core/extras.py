"""Optional dependencies: imported where they are used, with the install command when they are missing."""

import importlib
from types import ModuleType

from vitpose.core.errors import MissingExtraError


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import ``module`` or say which extra brings it.

    Args:
        module: dotted module name, for instance ``"onnxruntime"``.
        extra: the extra of this package that installs it.
        purpose: what the caller wanted to do, for the message.

    Raises:
        MissingExtraError: the module is not installed.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        message = f"{purpose} needs {package}, which is not installed: pip install 'vitpose[{extra}]'"
        raise MissingExtraError(message) from error
