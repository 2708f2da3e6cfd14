"""Settings and credentials of providers, checked where a config is made."""

import pytest

from models.errors import InvalidInputError
from models.provider_settings import (
    LimeSettings,
    ResendSettings,
    SesSettings,
    TelnyxSettings,
    required_credential,
)


@pytest.mark.parametrize(
    ("kind", "settings", "field"),
    [
        (ResendSettings, {"maxBatch": 101}, "maxBatch"),
        (ResendSettings, {"maxBatch": True}, "maxBatch"),
        (ResendSettings, {"from": "a\r\nBcc: b"}, "from"),
        (ResendSettings, {"colour": "red"}, "colour"),
        (SesSettings, {}, "region"),
        (SesSettings, {"region": "nowhere.example/"}, "region"),
        (SesSettings, {"region": "eu-west-1", "maxBatch": 51}, "maxBatch"),
        (SesSettings, {"region": "eu-west-1", "configurationSet": "a b"}, None),
        (TelnyxSettings, {}, "from"),
        (TelnyxSettings, {"from": "+12125550100", "colour": 1}, "colour"),
        (TelnyxSettings, {"from": "Twelve letters"}, "from"),
        (TelnyxSettings, {"from": "Us", "encoding": "utf8"}, "encoding"),
        (TelnyxSettings, {"from": "Us", "maxSegments": 11}, "maxSegments"),
        (TelnyxSettings, {"from": "Us", "webhookUrl": 17}, "webhookUrl"),
        (TelnyxSettings, {"from": "Us", "webhookUrl": "http://a.example/"}, None),
        (TelnyxSettings, {"from": "Us", "webhookUrl": "https://a.example/?b"}, None),
        (TelnyxSettings, {"from": "Us", "webhookUrl": "https://[a.example/"}, None),
        (TelnyxSettings, {"from": "Us", "webhookUrl": "https://u:p@a.example"}, None),
        (LimeSettings, {"maxSegments": 0}, "maxSegments"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(kind, settings, field):
    """Before anything is sent; a region becomes part of a host's name."""
    with pytest.raises(InvalidInputError) as refused:
        kind.of(settings)

    assert refused.value.field == (field or list(settings)[-1])


@pytest.mark.parametrize("value", [None, "", 17, "hush hush", "hush\r\nX: y", "hüsh"])
def test_a_wrong_credential_is_refused_and_not_repeated(value):
    """It would break a header."""
    with pytest.raises(InvalidInputError) as refused:
        required_credential({"apiKey": value}, "apiKey")

    assert refused.value.field == "apiKey"
    assert not value or str(value) not in str(refused.value)
