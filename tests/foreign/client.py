"""A client that knows the agent only through server reflection.

Usage: client.py ADDRESS. Lists the service, reads capacity, runs one work item,
follows its stream, attaches again from the middle, acknowledges, and shows a
refusal with its typed details. Prints one JSON object; any surprise raises.
"""

import json
import sys
import uuid

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICE = "helix.agent.v1.AgentService"


def main(address):
    channel = grpc.insecure_channel(address)
    database = ProtoReflectionDescriptorDatabase(channel)
    services = sorted(database.get_services())
    pool = descriptor_pool.DescriptorPool(database)
    service = pool.FindServiceByName(SERVICE)

    def message(method, **fields):
        kind = message_factory.GetMessageClass(service.methods_by_name[method].input_type)
        return kind(**fields)

    def call(method, request):
        description = service.methods_by_name[method]
        answer = message_factory.GetMessageClass(description.output_type)
        make = channel.unary_stream if description.server_streaming else channel.unary_unary
        return make(
            "/{}/{}".format(SERVICE, method),
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=answer.FromString,
        )(request, timeout=60)

    capacity = call("GetCapacity", message("GetCapacity")).capacity

    attempt = str(uuid.uuid4())
    item = {
        "work_item_id": str(uuid.uuid4()),
        "job_id": str(uuid.uuid4()),
        "attempt_id": attempt,
        "friendly_name": "foreign client",
        "command": {"shell": "printf 'hello from python\\n'; printf '\\377bytes' >&2; exit 3"},
    }
    kinds, output, errors, numbers = [], b"", b"", []
    for response in call("Run", message("Run", work_item=item)):
        event = response.event
        kind = event.WhichOneof("kind")
        if kind == "console":
            if event.console.stream == 2:
                output += event.console.data
            elif event.console.stream == 3:
                errors += event.console.data
        else:
            kinds.append(kind)
            numbers.append(event.number)
            last = event

    again = [
        response.event.number
        for response in call(
            "Attach",
            message("Attach", attempt_id=attempt, after_event=numbers[1], console_offset=0),
        )
        if response.event.number
    ]
    call("Acknowledge", message("Acknowledge", attempt_id=attempt))

    impossible = dict(item, attempt_id=str(uuid.uuid4()))
    impossible["requirements"] = [{"name": "no-such-tool", "range": ">=7"}]
    try:
        for _ in call("Run", message("Run", work_item=impossible)):
            raise AssertionError("the agent took what it cannot run")
    except grpc.RpcError as error:
        status = status_pb2.Status()
        status.ParseFromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        info = error_details_pb2.ErrorInfo()
        found = [detail for detail in status.details if detail.Unpack(info)]
        refusal = {
            "code": error.code().name,
            "reason": info.reason,
            "domain": info.domain,
            "metadata": dict(info.metadata),
            "details": len(found),
        }

    print(
        json.dumps(
            {
                "services": services,
                "slots": capacity.total.slots,
                "kinds": kinds,
                "numbers": numbers,
                "output": output.decode("latin-1"),
                "errors": errors.decode("latin-1"),
                "verdict": last.finished.verdict.reason,
                "exit_code": last.finished.helix_exit_code,
                "again": again,
                "refusal": refusal,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
