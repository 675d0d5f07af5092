"""Writes an ELF program whose one segment is longer than the file: it adds a word behind the file's end to 42, and exits with that."""
import os
import struct

BASE, MISSING = 0x400000, 0x900
code = bytes.fromhex("8b3c25") + struct.pack("<I", BASE + MISSING)  # mov edi, [BASE + MISSING]
code += bytes.fromhex("83c72a b83c000000 0f05")  # add edi, 42; mov eax, 60; syscall
header = struct.pack(
    "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, BASE + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0
)
segment = struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, 0xA00, 0x3000, 0x1000)
with open("short", "wb") as f:
    f.write(header + segment + code + bytes(0x200))
os.chmod("short", 0o755)
