"""Files that batches carry: posted once, then named by their hash."""

from flask import Blueprint, Response

from models.errors import InvalidInputError
from models.queries.attachments import store_attachment
from web_app.auth import caller
from web_app.bodies import answer, body_pieces
from web_app.services import services

attachments = Blueprint("attachments", __name__, url_prefix="/api/attachments")


@attachments.post("")
def create() -> Response:
    """Store the body, whatever it is: 201; the same file again has the same answer."""
    tenant_id = caller()
    content = b"".join(body_pieces(services().max_attachment_bytes))
    if not content:
        raise InvalidInputError("The body is empty; send the file itself.")
    with services().database.transaction() as connection:
        sha256 = store_attachment(connection, tenant_id, content)
    return answer({"sha256": sha256, "bytes": len(content)}, 201)
