"""Whether the cluster of RAY_ADDRESS is there and takes us, asked before Ray is: Ray itself waits for minutes.

One of the few files that know Ray. The head is asked twice whether it lives: as anybody would, and with our token.
"""

from __future__ import annotations

import os
from typing import Any

from grokstudy.orchestrator.execution.resources import ResourcesError
from grokstudy.trainables.messages import first_line

ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
ANSWER_S = 6.0
"""How long a head may take to answer."""


class ClusterError(ResourcesError):
    """The cluster that was asked for is not there, or does not take us."""


def check_cluster(address: str | None) -> None:
    """Raise ClusterError, with what to set, unless a head answers at this address and takes our token."""
    place = address or ""
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit() or place.startswith("ray://"):
        return  # `auto`, `local`: Ray finds out at once by itself; a Ray client has a server of its own
    asked = f"RAY_ADDRESS is {address}"
    open_to_all = _takes(asked, place, ())
    if open_to_all and os.environ.get("RAY_AUTH_MODE") == "token":
        raise ClusterError(
            f"{asked}: this cluster takes no token, and we use one; set RAY_AUTH_MODE=disabled to join it, "
            "or start it with RAY_AUTH_MODE=token"
        )
    token = () if open_to_all else _token()
    if not open_to_all and not (token and _takes(asked, place, token)):
        found = "ours is another" if token else "we have none"
        raise ClusterError(
            f"{asked}: this cluster asks for a token, and {found}; set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to its "
            "token, with RAY_AUTH_MODE=token"
        )


def _token() -> tuple[Any, ...]:
    """What Ray would send along with each request; nothing without authentication, or where no token is found."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return ()
    from ray._private.authentication import grpc_authentication_client_interceptor as interceptor
    from ray.exceptions import AuthenticationError

    try:
        return tuple(interceptor._get_authentication_metadata_tuple())
    except AuthenticationError:
        return ()


def _takes(asked: str, place: str, token: tuple[Any, ...]) -> bool:
    """Whether the head answers such a request. Raises ClusterError when nobody does."""
    import grpc

    with grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(ALIVE)(b"", timeout=ANSWER_S, metadata=token)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise ClusterError(
                f"{asked}, where no Ray answers ({first_line(Exception(error.details()))}); start that cluster, set "
                "RAY_ADDRESS to one that runs, or unset it to train on this machine"
            ) from None
    return True
