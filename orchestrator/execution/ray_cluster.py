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


class AddressError(ResourcesError):
    """The cluster that was asked for is not there, or does not take us."""


def check_cluster(address: str | None) -> None:
    """Raise AddressError, with what to set, unless a head answers at this address and takes our token."""
    if address is None:
        return
    entry = f"RAY_ADDRESS is {address}"
    place = _head_of(entry, address)
    open_to_all = _takes(entry, place, ())
    if open_to_all and os.environ.get("RAY_AUTH_MODE") == "token":
        raise AddressError(
            f"{entry}: this cluster takes no token, and we use one; set RAY_AUTH_MODE=disabled to join it, "
            "or start it with RAY_AUTH_MODE=token"
        )
    token = () if open_to_all else _token()
    if not open_to_all and not (token and _takes(entry, place, token)):
        reason = "ours is another" if token else "we have none"
        raise AddressError(
            f"{entry}: this cluster asks for a token, and {reason}; set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to its "
            "token, with RAY_AUTH_MODE=token"
        )


def _head_of(entry: str, address: str) -> str:
    """HOST:PORT of the head, that of this machine for `auto`. Raises AddressError for what is no such address."""
    if address == "auto":
        from ray._private.services import get_ray_address_from_environment

        try:
            return str(get_ray_address_from_environment("auto", None))
        except ConnectionError:
            raise AddressError(
                f"{entry}, and no Ray runs on this machine; start one with ray start --head, set RAY_ADDRESS to the "
                "HOST:PORT of another, or unset it to train on this machine"
            ) from None
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in address:
        return address
    kinds = {"ray": "the address of a Ray client server", "http": "the address of a dashboard, which submit takes"}
    kind = kinds.get(address.partition("://")[0].removesuffix("s"), "no address of a head")
    raise AddressError(
        f"{entry}, {kind}; set RAY_ADDRESS to the head's own HOST:PORT (its port is 6379 unless it was given another), "
        "to auto for the one of this machine, or unset it to train here; grokstudy submit trains from elsewhere"
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


def _takes(entry: str, place: str, token: tuple[Any, ...]) -> bool:
    """Whether the head answers such a request. Raises AddressError when nobody does."""
    import grpc

    with grpc.insecure_channel(place, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(ALIVE)(b"", timeout=ANSWER_S, metadata=token)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise AddressError(
                f"{entry}, where no Ray answers ({first_line(Exception(error.details()))}); start that cluster, set "
                "RAY_ADDRESS to one that runs, or unset it to train on this machine"
            ) from None
    return True
