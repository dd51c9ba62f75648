"""The page in a real browser, on a desk and on a phone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import cv2
from browser import Browser, open_browser
from running_server import RunningServer

from edge_vseg import Deadline

Start = Callable[..., RunningServer]
TEXT = "document.getElementById('{}').textContent"
DRAWN = "Number(document.getElementById('picture')?.dataset.number ?? 0)"


async def middle_of_the_picture(browser: Browser) -> tuple[float, float]:
    box = await browser.value(
        "(() => { const box = document.getElementById('picture').getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    return box[0], box[1]


async def brightness(browser: Browser) -> float:
    return await browser.value(
        "(() => { const c = document.getElementById('picture');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let sum = 0; for (let i = 0; i < d.length; i += 4) sum += d[i] + d[i + 1] + d[i + 2];"
        " return sum / (d.length / 4) / 3; })()"
    )


def test_the_page(start: Start, tmp_path: Path) -> None:
    # A busy machine makes results late, and this test is not about that.
    server = start(policy=Deadline(milliseconds=30.0), max_age_ms=60_000)
    shots = Path(os.environ.get("EDGE_VSEG_SCREENSHOTS", tmp_path))

    async def use() -> None:
        async with open_browser(server.url) as browser:
            await browser.resize(1280, 900)
            number = await browser.until(DRAWN)
            await browser.until(f"{DRAWN} > {number}")
            assert await brightness(browser) > 20
            assert await browser.value("document.getElementById('veil').hidden")
            assert await browser.value("document.querySelectorAll('#legend li').length") == len(server.live.labels)
            await browser.until("document.querySelectorAll('#steps li').length")
            await browser.until(f"{TEXT.format('latency')}.includes('p99')")
            await browser.screenshot(shots / "desk.png")

            await browser.click(*await middle_of_the_picture(browser))
            names = [label.name for label in server.live.labels]
            said = await browser.until(f"{TEXT.format('pixel')}.includes('% certain') && {TEXT.format('pixel')}")
            assert said.split(" at ")[0] in names

            for view in ("age", "camera"):
                await browser.value(f"document.querySelector('[data-view={view}]').click()")
                await browser.until(f"page.header.view === '{view}'")

            await browser.value("document.getElementById('policy').value = 'fixed'")
            await browser.value("document.getElementById('policy').dispatchEvent(new Event('change'))")
            await browser.value("document.querySelector('[name=period_frames]').value = 5")
            await browser.value("document.getElementById('apply').click()")
            await browser.until(f"{TEXT.format('applied')} === 'runs fixed'")
            await browser.until("page.state.schedule.parameters.period_frames === 5")
            number = await browser.value(DRAWN)
            await browser.until(f"{DRAWN} > {number}")

            await browser.value("document.querySelector('[name=period_frames]').value = 0")
            await browser.value("document.getElementById('apply').click()")
            await browser.until(f"{TEXT.format('applied')}.includes('period_frames')")

            await browser.resize(390, 844, dark=True)
            await browser.value("choose('overlay')")
            await browser.until("page.header.view === 'overlay'")
            assert await browser.value("document.documentElement.scrollWidth") <= 390, "nothing sticks out on a phone"
            await browser.screenshot(shots / "phone.png")

            # The refusal of 0 frames is the one error that the console may show.
            assert [text for text in browser.problems if "400 (Bad Request)" not in text] == []
            await asyncio.to_thread(server.close)
            await browser.until("!document.getElementById('veil').hidden")
            assert await browser.value(TEXT.format("veil-title")) == "No connection"

    asyncio.run(use())
    assert cv2.imread(str(shots / "desk.png")).shape == (900, 1280, 3)
    assert cv2.imread(str(shots / "phone.png")).shape == (844, 390, 3)


def test_the_token_does_not_stay_in_the_address(start: Start) -> None:
    token = "correct-horse-battery"
    server = start(token=token, max_age_ms=60_000)

    async def look() -> None:
        async with open_browser(f"{server.url}?token={token}") as browser:
            await browser.until(DRAWN)
            assert token not in await browser.value("location.href")
            assert token not in await browser.value("document.cookie")
            await browser.send("Page.reload")
            await asyncio.sleep(0.2)
            await browser.until(DRAWN)
            assert browser.problems == []

    asyncio.run(look())


def test_a_camera_that_stops_is_shown_as_stale(start: Start) -> None:
    import numpy as np
    from test_pages import StoppedCamera

    server = start(open_frames=lambda policy: StoppedCamera(np.full((48, 64, 3), 200, np.uint8)))

    async def look() -> None:
        async with open_browser(server.url) as browser:
            await browser.until("document.getElementById('veil-title')?.textContent === 'Stale'")
            assert "camera" in await browser.value(TEXT.format("veil-text"))
            assert await browser.value(TEXT.format("health-state")) == "stale"

    asyncio.run(look())
