"""A delay line: forwards TCP connections, every byte late by a fixed time, in both directions.

Run as a program: `delay.py HOST:PORT SECONDS` prints the port that it listens on, and ends when
its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late_s: float) -> None:
    """Write what is read, `late_s` later, in order."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write() -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(due - loop.time(), 0))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    writing = asyncio.create_task(write())
    try:
        while data := await reader.read(1 << 16):
            queue.put_nowait((loop.time() + late_s, data))
    except OSError:
        pass
    queue.put_nowait((loop.time() + late_s, b""))
    with contextlib.suppress(OSError):
        await writing


async def main(target: str, late_s: float) -> None:
    host, _, port = target.rpartition(":")

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The handshake of TCP takes a round trip too.
        await asyncio.sleep(2 * late_s)
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(forward(reader, there_writer, late_s), forward(there_reader, writer, late_s))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
