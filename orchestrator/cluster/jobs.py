"""The Ray Jobs API, as far as `submit` and `cancel` need it. One of the few files that know Ray.

A job runs the driver on the cluster's head, so you can close the laptop. Its id follows from what is asked:
`<study>-<hash of the study>`, and `.2`, `.3` for later jobs of the same study. Asking again while it
runs finds it by its id.
The token is read by Ray from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token, and never shown here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

ACTIVE = ("PENDING", "RUNNING")
STOP_WAIT_S = 90
"""How long a driver may take to end its workers before it is killed; each writes a checkpoint on its way out."""
ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}


class ClusterError(RuntimeError):
    """The cluster cannot be reached or does not let us in; the message is one line that says what to do."""


@dataclass(frozen=True)
class Job:
    """A job that runs a study, as the cluster knows it."""

    job_id: str
    status: str
    study: str
    arguments: str
    """What `grokstudy run` was given."""
    exit_code: int | None

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.status in ACTIVE


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, address: str) -> None:
        """Connect to the Jobs API at an address such as http://127.0.0.1:8265. Raises ClusterError."""
        if not re.match("https?://[^/]", address):
            raise ClusterError(
                f"{address!r} is no address of a dashboard; write it as http://HOST:8265 (http://127.0.0.1:8265 for a "
                "cluster on this machine), or name the file of `ray up` with --cluster"
            )
        self.address = address
        os.environ["RAY_API_SERVER_ADDRESS"] = address
        token_file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        if os.environ.get("RAY_AUTH_TOKEN") or token_file.is_file():
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        with _in_one_line(address):
            from ray.job_submission import JobSubmissionClient

            for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
                logging.getLogger(name).setLevel(logging.ERROR)
            self._client = JobSubmissionClient(address)

    def of_study(self, study: str) -> list[Job]:
        """All jobs of a study, the oldest first."""
        with _in_one_line(self.address):
            submitted = [details for details in self._client.list_jobs() if details.submission_id]
        submitted.sort(key=lambda details: details.start_time or 0)
        return [job for job in map(_job, submitted) if job.study == study]

    def get(self, job_id: str) -> Job:
        """A job as it stands now."""
        with _in_one_line(self.address):
            return _job(self._client.get_job_info(job_id))

    def start(self, job_id: str, study: str, arguments: str, folder: Path, environment: dict[str, str]) -> bool:
        """Start `grokstudy run` with these arguments in a copy of a folder; False when the id is taken already."""
        try:
            with _in_one_line(self.address):
                self._client.submit_job(
                    entrypoint=f"exec python -m grokstudy run {arguments}",
                    submission_id=job_id,
                    runtime_env={"working_dir": str(folder), "env_vars": {**ENVIRONMENT, **environment}},
                    metadata={"study": study, "arguments": arguments},
                )
        except ClusterError as error:
            if "already exists" in str(error):
                return False
            raise
        return True

    def stop(self, job_id: str) -> Job:
        """Ask a job to stop and wait until it has."""
        with _in_one_line(self.address):
            self._client.stop_job(job_id)
        deadline = time.monotonic() + STOP_WAIT_S + 10
        while (job := self.get(job_id)).active:
            if time.monotonic() > deadline:
                raise ClusterError(f"{job_id} has not stopped within {STOP_WAIT_S + 10} s; ask again, or see its log")
            time.sleep(0.5)
        return job

    def follow(self, job_id: str, say: Callable[[str], None]) -> Job:
        """Pass a job's log on until it ends; a lost connection is taken up again where it broke."""
        passed_on = 0
        while True:
            with contextlib.suppress(ClusterError, OSError, RuntimeError):
                passed_on = asyncio.run(self._tail(job_id, say, passed_on))
            job = self.get(job_id)
            if not job.active:
                return job
            time.sleep(1.0)

    async def _tail(self, job_id: str, say: Callable[[str], None], skip: int) -> int:
        """Read a log from its beginning, passing on what lies behind `skip` characters; returns its length."""
        seen = 0
        async for text in self._client.tail_job_logs(job_id):
            fresh = text[max(0, skip - seen) :]
            seen += len(text)
            if fresh:
                say(fresh)
        return max(seen, skip)


def next_id(base: str, jobs: list[Job]) -> str:
    """The id of the next job: the base itself, then base.2, base.3; that of a job that is running, if there is one."""
    earlier = [job for job in jobs if job.job_id == base or job.job_id.startswith(f"{base}.")]
    for job in earlier:
        if job.active:
            return job.job_id
    return base if not earlier else f"{base}.{len(earlier) + 1}"


def _job(details: Any) -> Job:
    metadata = cast("dict[str, str]", details.metadata or {})
    status = getattr(details.status, "value", details.status)
    study, arguments = metadata.get("study", ""), metadata.get("arguments", "")
    return Job(details.submission_id, str(status), study, arguments, details.driver_exit_code)


@contextlib.contextmanager
def _in_one_line(address: str) -> Iterator[None]:
    """Turn what Ray raises into ClusterError, without its paragraphs."""
    try:
        yield
    except ClusterError:
        raise
    except Exception as error:
        raise ClusterError(_explained(address, error)) from None


def _explained(address: str, error: Exception) -> str:
    text = str(error)
    if "Authentication required" in text:
        return (
            f"{address} wants a token and there is none here; copy the cluster's to ~/.ray/auth_token, "
            "or name its file in RAY_AUTH_TOKEN_PATH"
        )
    if "Authentication failed" in text:
        return f"{address} does not know this token; copy the cluster's to ~/.ray/auth_token, or unset RAY_AUTH_TOKEN"
    if isinstance(error, OSError) or "Failed to connect" in text:
        return f"no Ray cluster answers at {address}; is it up, and is this the address of its dashboard?"
    return f"{address}: {text.strip().splitlines()[-1] if text.strip() else type(error).__name__}"
