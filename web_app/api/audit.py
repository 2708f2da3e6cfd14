"""What was done, and by whom, as a tenant may see it."""

from flask import Blueprint, Response, request

from analytics.audit_log import audit_page
from web_app.api.analytics import event_log
from web_app.auth import caller
from web_app.bodies import answer, number_argument

audit = Blueprint("audit", __name__, url_prefix="/api/audit")

_PAGE = 100


@audit.get("")
def index() -> Response:
    """Show the tenant's entries, newest first, page by page; a few seconds behind.

    503 while ClickHouse is away; what is done meanwhile appears afterwards.
    """
    tenant_id = caller()
    limit = number_argument("limit", default=_PAGE, least=1, most=1000)
    after = request.args.get("after", "")
    entries, following = audit_page(
        event_log(), tenant_id=tenant_id, after=after, most=limit
    )
    return answer({"entries": entries, "next": following})
