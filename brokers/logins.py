"""What proves to a server who we are, and what to do when it does not believe us."""

import base64
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

import nats.errors
import nkeys

_BLOCK = r"-+BEGIN {}-+\s+(\S+)\s+-+END"
_JWT = re.compile(_BLOCK.format("NATS USER JWT"))
_SEED = re.compile(_BLOCK.format("USER NKEY SEED"))
#: What a server says when it refuses, in lower case.
_REFUSALS = ("authorization violation", "authentication", "account expired")


class CredentialsError(nats.errors.Error):
    """The credentials file cannot be used; its text says why and names the file."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A `.creds` file: a user's signed claims and the seed that signs for it.

    It is read at each login, so that a new one is taken up without a restart.

    Attributes:
        path: Where it is.
    """

    path: str

    def jwt(self) -> bytes:
        """Return the claims.

        Raises:
            CredentialsError: The file cannot be used.
        """
        return self._found(_JWT)

    def signature(self, nonce: str) -> bytes:
        """Return the signature over what the server gave us to sign, in base64.

        Raises:
            CredentialsError: The file cannot be used.
        """
        try:
            pair = nkeys.from_seed(bytearray(self._found(_SEED)))
        except nkeys.NkeysError as error:
            raise CredentialsError(f"{self.path} holds no valid seed.") from error
        return base64.b64encode(pair.sign(nonce.encode()))

    def _found(self, pattern: re.Pattern[str]) -> bytes:
        try:
            match = pattern.search(Path(self.path).read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsError(f"{self.path} cannot be read: {error}.") from error
        if match is None:
            raise CredentialsError(f"{self.path} is no credentials file.")
        return match[1].encode()


def checked_seed(seed: str) -> None:
    """Make sure that this is a user's seed.

    Raises:
        ValueError: It is none.
    """
    try:
        public = nkeys.from_seed(bytearray(seed.encode())).public_key
    except (ValueError, nkeys.NkeysError):
        public = b""
    # Not chained: what is wrong about a secret would show it.
    if not public.startswith(b"U"):
        raise ValueError(
            "This is no seed of a user's NKey: it begins with SU and has 58 letters."
        )


def silence(last_error: Exception | None) -> str:
    """Return why nobody answers, as far as the last error tells."""
    if refused := refusal(last_error):
        return refused
    reason = f" The last error was {last_error!r}." if last_error else ""
    return f"No NATS server answered.{reason}"


def refusal(error: Exception | None) -> str:
    """Return what to do where only a person can help; `""` for any other error."""
    if isinstance(error, CredentialsError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"The NATS server's certificate is not trusted ({error.verify_message}): "
            "give the CA that signed it, and connect by a name that it is for."
        )
    if isinstance(error, ssl.SSLError):
        return (
            f"TLS with the NATS server failed ({error.reason}): check whether it asks "
            "for a client certificate, and which CA signed ours."
        )
    if isinstance(error, nats.errors.SecureConnWantedError):
        return (
            "The NATS server offers no TLS: switch it on there, or connect by nats://."
        )
    if any(sign in str(error).lower() for sign in _REFUSALS):
        return (
            "The NATS server refuses our login: check the user and password or the "
            "token in its URL, the NKey's seed or the credentials file."
        )
    return ""
