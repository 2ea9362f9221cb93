"""The page at `/` in a browser: it ranks, highlights tokens, shows errors, and needs no other server."""

import shutil
from importlib.util import find_spec

import pytest

from headrank.serving.settings import ServingSettings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.skipif(find_spec("playwright") is None, reason="playwright is not installed (`make install` does it)"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """A page that fails the test for script errors, errors of the content policy, and requests to other servers."""
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    errors, addresses = [], set()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    opened.on("request", lambda request: addresses.add("/".join(request.url.split("/")[:3])))
    yield opened
    address = "/".join(opened.url.split("/")[:3])
    opened.close()
    assert not errors
    assert {one for one in addresses if not one.startswith("data:")} == {address}


def test_the_sample_is_ranked_and_its_tokens_are_highlighted(served, page):
    page.goto(served.url)
    page.get_by_role("button", name="Load the sample").click()
    page.wait_for_function("document.getElementById('passages').value")
    query, lines = page.get_by_label("Query").input_value(), page.get_by_label("Passages").input_value().split("\n")
    page.get_by_role("button", name="Rank", exact=True).click()
    page.wait_for_selector("#ranking li")
    expected = served.service.reranker.rank(query, lines)
    assert page.locator("#ranking .text").all_text_contents() == [one.text for one in expected]
    assert page.locator("#ranking mark").count() > len(lines)
    assert "serves tiny-qwen3" in page.locator("#model").text_content().lower()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390  # nothing to scroll sideways on a phone


def test_texts_are_shown_as_they_are(served, page):
    passages = ["<img src=x onerror=alert(1)> two\nlines", "letters beyond 16 bits: 😀 𝒳 end", "plain & simple"]
    page.goto(served.url)
    page.get_by_label("Query").fill("what <b>is</b> 😀")
    page.get_by_label("Passages").fill("\n\n".join(passages))
    page.get_by_label("Query").press("Enter")
    page.wait_for_selector("#ranking li")
    assert sorted(page.locator("#ranking .text").all_text_contents()) == sorted(passages)
    assert page.locator("#asked").text_content() == "Query: what <b>is</b> 😀"
    marks = [mark for mark in page.locator("#ranking mark").all_text_contents() if "�" in mark]
    assert not marks


def test_errors_are_shown(serve, page):
    served = serve(ServingSettings(max_documents=1, api_key="secret"))
    page.goto(served.url)
    page.get_by_label("Query").fill("tides")
    page.get_by_label("Passages").fill("one\ntwo")
    rank, error = page.get_by_role("button", name="Rank", exact=True), page.get_by_role("alert")
    rank.click()
    error.filter(has_text="API key").wait_for()
    page.get_by_label("Key").fill("secret")
    rank.click()
    error.filter(has_text="at most 1").wait_for()
    page.get_by_label("Passages").fill("one")
    rank.click()
    page.wait_for_selector("#ranking li")
    assert not error.is_visible()
