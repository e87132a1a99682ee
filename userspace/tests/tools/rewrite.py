"""What is done to capture files.

    wrap(pcap, out, "vlan" | "qinq" | "vxlan" | "gretap" | "gre" | "erspan2" | "geneve" | "mpls")
    drop_host(pcapng)

`wrap` puts the frames of a classic pcap file inside what mirrors put around them. The kernel can make most of these, but not every kernel has them built in; a mirror's encapsulation says nothing of the traffic in it,
so it is put on afterwards. The outer IPv4 header is that of a mirror at 192.0.2.1 sending to a collector at 192.0.2.2.

`drop_host` takes out what a pcapng file tells of the machine that made it.
"""

import struct

MACS = bytes.fromhex("020000000002" "020000000001")


def wrap(source, destination, kind):
    layer = LAYERS[kind]
    with open(source, "rb") as capture:
        header = capture.read(24)
        if header[:4] != b"\xd4\xc3\xb2\xa1" or header[20:24] != b"\x01\0\0\0":
            raise SystemExit(f"{source}: want a little-endian microsecond Ethernet pcap file")
        frames = []
        while record := capture.read(16):
            seconds, fraction, length, _ = struct.unpack("<IIII", record)
            frames.append((seconds, fraction, capture.read(length)))
    with open(destination, "wb") as capture:
        capture.write(header[:16] + struct.pack("<I", 262144) + header[20:])
        for number, (seconds, fraction, frame) in enumerate(frames):
            wrapped = layer(frame, number)
            capture.write(struct.pack("<IIII", seconds, fraction, len(wrapped), len(wrapped)) + wrapped)


def drop_host(path):
    octets, out = path.read_bytes(), bytearray()
    while octets:
        kind, length = struct.unpack_from("<II", octets)
        block, octets = octets[:length], octets[length:]
        if kind in FIXED:
            start = 8 + FIXED[kind]
            body = block[8:start] + b"".join(options(block[start:-4])) + bytes(4)
            block = struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
        out += block
    path.write_bytes(out)


def options(octets):
    """The options that are not of the host: all but hardware, system, program and comments."""
    while octets:
        code, length = struct.unpack_from("<HH", octets)
        option, octets = octets[: 4 + length + -length % 4], octets[4 + length + -length % 4 :]
        if code not in (0, 1, 3, 4, 12) and not (code == 2 and length > 8):
            yield option


# Blocks with such options: section header, interface description; octets before the options.
FIXED = {0x0A0D0D0A: 16, 1: 8}


def vlan(frame, _):
    return frame[:12] + struct.pack("!HH", 0x8100, 100) + frame[12:]


def qinq(frame, _):
    return frame[:12] + struct.pack("!HHHH", 0x88A8, 200, 0x8100, 100) + frame[12:]


def mpls(frame, _):
    labels = struct.pack("!II", 16_000 << 12 | 64, 16_001 << 12 | 1 << 8 | 64)
    return frame[:12] + struct.pack("!H", 0x8847) + labels + frame[14:]


def vxlan(frame, number):
    return outer(17, udp(49152 + number % 16, 4789, struct.pack("!II", 0x08000000, 42 << 8) + frame))


def geneve(frame, number):
    # One option: class 0x0103, type 1, 4 octets of data.
    option = struct.pack("!HBB", 0x0103, 1, 1) + b"\xde\xad\xbe\xef"
    return outer(17, udp(49152 + number % 16, 6081, struct.pack("!BBHI", len(option) // 4, 0, 0x6558, 42 << 8) + option + frame))


def gretap(frame, _):
    return outer(47, struct.pack("!HHI", 0x2000, 0x6558, 42) + frame)


def gre(frame, _):
    return outer(47, struct.pack("!HH", 0, int.from_bytes(frame[12:14], "big")) + frame[14:])


def erspan2(frame, number):
    # Version 1 is what everyone calls type II; VLAN 100, session 7, index 1.
    header = struct.pack("!HHI", 1 << 12 | 100, 7, 1)
    return outer(47, struct.pack("!HHI", 0x1000, 0x88BE, number) + header + frame)


def udp(source, destination, payload):
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def outer(protocol, payload):
    addresses = bytes([192, 0, 2, 1, 192, 0, 2, 2])
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return MACS + b"\x08\0" + header[:10] + struct.pack("!H", checksum) + header[12:] + payload


LAYERS = {layer.__name__: layer for layer in (vlan, qinq, mpls, vxlan, geneve, gretap, gre, erspan2)}
