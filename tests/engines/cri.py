"""What a kubelet asks of containerd: a pod and a container in it, by the container runtime interface (CRI) over gRPC.

Usage: cri.py SOCKET HANDLER IMAGE LOGS [SLICE]: with the pod in that slice of systemd's. Prints one line per step; exits 0 if all went as it should. Messages are put
together by hand from the field numbers in api.proto, so that no generated code is needed.
"""

import os
import subprocess
import sys
import time

import grpc


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def message(**fields):
    """Fields are named f1, f2 …; a list is a repeated field, bytes are a message or text, a number is a varint."""
    out = b""
    for name, value in fields.items():
        number = int(name[1:])
        for v in value if isinstance(value, list) else [value]:
            if isinstance(v, int):
                out += varint(number << 3) + varint(v)
            else:
                v = v.encode() if isinstance(v, str) else v
                out += varint(number << 3 | 2) + varint(len(v)) + v
    return out


def parse(data):
    """The last value of each field."""
    fields, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    while at < len(data):
        key = number()
        if key & 7 == 0:
            fields[key >> 3] = number()
        else:
            assert key & 7 == 2, key
            length = number()
            fields[key >> 3] = data[at : at + length]
            at += length
    return fields


socket, handler, image, logs, *slices = sys.argv[1:]
channel = grpc.insecure_channel("unix://" + socket)


def call(method, **fields):
    stub = channel.unary_unary("/runtime.v1.RuntimeService/" + method)
    return parse(stub(message(**fields), timeout=60))


def status(container):
    return parse(call("ContainerStatus", f1=container)[1])


def await_state(container, wanted):
    until = time.monotonic() + 60
    while status(container).get(3, 0) != wanted:
        assert time.monotonic() < until, "container never reached state %d" % wanted
        time.sleep(0.05)


RUNNING, EXITED = 1, 2
HOST = message(f1=2)  # the node's network: no CNI

pod = message(
    f1=message(f1="pod", f2="uid", f3="default"),
    f3=logs,
    f8=message(f1=slices, f2=message(f1=HOST)),
)
sandbox = call("RunPodSandbox", f1=pod, f2=handler)[1]
print("pod runs")


def container(name, script, **more):
    config = message(
        f1=message(f1=name),
        f2=message(f1=image),
        f3=["sh", "-c", script],
        f6=message(f1="A", f2="b"),
        f11=name + ".log",
        f15=message(f1=message(f4=64 << 20), f2=message(f3=HOST)),
        **more,
    )
    made = call("CreateContainer", f1=sandbox, f2=config, f3=pod)[1]
    call("StartContainer", f1=made)
    return made


once = container("once", "echo $A; uname -r; cat /sys/fs/cgroup/memory.max; exit 7")
await_state(once, EXITED)
assert status(once)[7] == 7, status(once)
with open(os.path.join(logs, "once.log")) as f:
    said = [line.split(" ", 3)[3].strip() for line in f]
assert said[0] == "b" and said[1].endswith("-cofferdam") and said[2] == str(64 << 20), said
call("RemoveContainer", f1=once)
print("a container ran")

web = container("web", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
await_state(web, RUNNING)
answer = call("ExecSync", f1=web, f2=["sh", "-c", "echo in; echo err >&2; exit 5"], f3=10)
assert (answer[1], answer[2], answer[3]) == (b"in\n", b"err\n", 5), answer
stats = parse(call("ContainerStats", f1=web)[1])
assert parse(parse(stats[3])[2])[1] > 0, stats  # memory, working set
print("exec and stats")

if slices:
    scope = "cri-containerd-%s.scope" % web.decode()
    unit = subprocess.run(
        ["systemctl", "show", "-p", "Slice", "-p", "MemoryMax", "-p", "ActiveState", scope],
        capture_output=True,
        text=True,
    ).stdout.split()
    wanted = ["Slice=" + slices[0], "MemoryMax=%d" % (64 << 20), "ActiveState=active"]
    assert sorted(unit) == sorted(wanted), unit
    print("a scope of systemd")

call("StopContainer", f1=web, f2=10)
await_state(web, EXITED)
assert status(web)[7] == 3, status(web)
call("RemoveContainer", f1=web)
call("StopPodSandbox", f1=sandbox)
call("RemovePodSandbox", f1=sandbox)
assert not call("ListPodSandbox"), "the pod is gone"
print("all is gone")
