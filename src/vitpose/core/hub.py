"""Whether the Hugging Face hub can be reached, found out in a moment.

The hub's client retries a failing request for half a minute, and does so anew for every file of a model. Who asks here
first knows after one short request, and can tell the client to look at its cache only.
"""

import http.client
import os
import queue
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import Final

from vitpose._version import __version__

PATIENCE_S: Final = 3.0
"""A hub that has not answered in this time is taken for out of reach."""

_DEFAULT_ENDPOINT: Final = "https://huggingface.co"


def is_offline() -> bool:
    """Return whether the user forbids the network, by the variables that ``huggingface_hub`` reads."""
    values = [os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")]
    return any(value.strip().upper() in {"1", "ON", "YES", "TRUE"} for value in values)


def hub_is_reachable(patience_s: float = PATIENCE_S) -> bool:
    """Ask the hub for the header of its front page; any answer counts, also a refusal.

    The hub is the one that ``HF_ENDPOINT`` names, and proxies are those of the environment. Where this short request
    cannot tell, the hub counts as reachable, and its client decides: when TLS fails, for the client brings certificates
    of its own, and when the way goes through a proxy that Python's own client does not speak to (``ALL_PROXY``, SOCKS,
    TLS to the proxy), which is not asked at all.

    Args:
        patience_s: wait no longer, whatever hangs: a name server, a proxy, or a firewall that swallows packets.
    """
    if is_offline():
        return False
    answer: queue.Queue[bool] = queue.Queue()
    # A thread, because looking a name up has no time limit; a daemon, so that the end of the program need not wait.
    threading.Thread(target=lambda: answer.put(_answers(patience_s)), daemon=True).start()
    try:
        return answer.get(timeout=patience_s)
    except queue.Empty:
        return False


def _answers(patience_s: float) -> bool:
    endpoint = os.environ.get("HF_ENDPOINT", "").strip() or _DEFAULT_ENDPOINT
    try:
        if _behind_another_proxy(endpoint):
            return True
        request = urllib.request.Request(endpoint, method="HEAD", headers={"User-Agent": f"vitpose/{__version__}"})
        urllib.request.urlopen(request, timeout=patience_s).close()
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
    except (OSError, http.client.HTTPException, ValueError) as error:
        # ``urlopen`` wraps what goes wrong while it connects, and nothing that comes later.
        return isinstance(error.reason if isinstance(error, urllib.error.URLError) else error, ssl.SSLError)
    return True


def _behind_another_proxy(endpoint: str) -> bool:
    """Return whether the way there goes through a proxy that ``urllib`` passes over or speaks to in the wrong way."""
    address = urllib.parse.urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    own = proxies.get(address.scheme, "")
    proxy = own or proxies.get("all", "")
    if not proxy or not address.hostname or urllib.request.proxy_bypass(address.hostname):
        return False
    kind = proxy.partition("://")[0].lower() if "://" in proxy else "http"
    return not own or kind != "http"
