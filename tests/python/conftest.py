"""What all tests share."""

import os

import pytest
from letta_client import Letta


@pytest.fixture(scope="session")
def client():
    return Letta(base_url=os.environ["GREENROOM_URL"], api_key="unused", max_retries=0, _strict_response_validation=True)
