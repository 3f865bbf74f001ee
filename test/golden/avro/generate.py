"""Writes the golden files beside it with fastavro, an Avro implementation that shares no code with the bridge's.

    pip install fastavro==1.13.1
    python3 test/golden/avro/generate.py

<name>.bin holds the bytes in Confluent wire format; <name>.json the schema id, the version of the contract that wrote them, or
the file of another writer's schema, and the event that a reader of each version must get from them. Maps have their keys
sorted: Avro leaves their order open, and equality of bytes is to mean something.
"""

import copy
import io
import json
import pathlib
import struct

import fastavro

here = pathlib.Path(__file__).parent


def version(number):
    return json.loads((here / f"../../../schemas/history/biometric-event.v{number}.avsc").read_text())


contract = version(1)

reading = {
    "event_id": "6f1c2a52-5d0e-5b86-9d0c-0d6f4f6f2b11",
    "device_type": "oura",
    "source": "oura",
    "user_id": "test_user",
    "kind": "reading",
    "timestamp": 1753876800000,
    "local_date": None,
    "hrv": None,
    "hrv_sdnn": None,
    "sleep_score": None,
    "recovery_score": None,
    "stress_level": None,
    "resting_heart_rate": None,
    "activity_data": {},
    "flags": [],
    "baseline": None,
    "triggers": [],
    "priority": "NORMAL",
    "resource_id": "reading:2025-07-30T12:00:00.000Z",
    "revision": 1753876800000,
    "deleted": False,
    "supersedes": None,
    "received_at": 1753876801234,
    "raw": {"topic": "raw.oura", "partition": 0, "offset": 0},
}


def trigger(kind, severity, metric, value, threshold, recommendation, first):
    return {
        "type": kind,
        "severity": severity,
        "metric": metric,
        "value": value,
        "threshold": threshold,
        "recommendation": recommendation,
        "alert_id": "0d9e7a86-7f0c-5a38-8e0a-5f2f6d1c9e42",
        "first": first,
    }


full = reading | {
    "device_type": "healthkit",
    "source": "healthkit:Apple Watch",
    "user_id": "zoë-李-😀",
    "kind": "sleep",
    "local_date": "2025-07-30",
    "hrv": 20.125,
    "hrv_sdnn": 31.7,
    "sleep_score": 0.0,
    "recovery_score": 75.0,
    "stress_level": 99.999,
    "resting_heart_rate": 48.5,
    "activity_data": {
        "active_energy_kcal": 312.4,
        "active_seconds": 3600.0,
        "distance_m": 8123.75,
        "steps": 10234.0,
        "strain": 14.2,
        "total_energy_kcal": 2312.4,
    },
    "flags": ["calibrating", "zone_assumed_utc", "out_of_range:hrv", "stale"],
    "baseline": {"hrv_mean": 52.25, "hrv_sd": 6.125, "nights": 28},
    "triggers": [
        trigger("URGENT_INTERVENTION", "CRITICAL", "hrv", 20.125, 25.0, "immediate_stress_protocol", True),
        trigger("RECOVERY_INTERVENTION", "MEDIUM", "sleep_score", 0.0, 70.0, "sleep_optimization", False),
    ],
    "priority": "HIGH",
    "resource_id": "sleep:2025-07-30:Ærø",
    "revision": 1753900000000,
    "supersedes": {"event_id": "8a7d8c1e-9f1b-5d5e-b2fb-3a2f8f1f7c10", "priority": "MEDIUM"},
    "raw": {"topic": "raw.healthkit", "partition": 11, "offset": 9007199254740990},
}

deletion = reading | {
    "event_id": "1b0f6f0a-3c55-5e0f-8a53-5d0b4c3f9a01",
    "device_type": "whoop",
    "source": "whoop",
    "user_id": "10129",
    "kind": "recovery",
    "resource_id": "recovery:93845",
    "deleted": True,
    "supersedes": {"event_id": "6f1c2a52-5d0e-5b86-9d0c-0d6f4f6f2b11", "priority": "NORMAL"},
    "raw": {"topic": "raw.whoop", "partition": 3, "offset": 128},
}

# Before the epoch, and numbers at the edges of a double.
edges = reading | {
    "device_type": "terra",
    "source": "terra:GARMIN",
    "kind": "daily",
    "timestamp": -1,
    "hrv": 5e-324,
    "hrv_sdnn": 1.7976931348623157e308,
    "stress_level": 0.1,
    "resting_heart_rate": -0.5,
    "activity_data": {"steps": 0.30000000000000004},
    "revision": -4503599627370496,
    "user_id": "",
    "raw": {"topic": "raw.terra", "partition": 2147483647, "offset": 63},
}

# A later version of the contract: a field that version 1 does not know, in the middle, and symbols that it has not.
newer = copy.deepcopy(contract)
fields = {field["name"]: field for field in newer["fields"]}
fields["device_type"]["type"]["symbols"].insert(0, "garmin")
fields["kind"]["type"]["symbols"].append("workout")
fields["priority"]["type"]["symbols"].append("LOW")
newer["fields"].insert(
    5,
    {
        "name": "stages",
        "type": {
            "type": "array",
            "items": {
                "type": "record",
                "name": "Stage",
                "fields": [{"name": "stage", "type": "string"}, {"name": "seconds", "type": "long"}],
            },
        },
        "default": [],
    },
)
newer["fields"].append({"name": "zone", "type": ["null", "string"], "default": None})

written_newer = full | {
    "device_type": "garmin",
    "kind": "workout",
    "priority": "LOW",
    "stages": [{"stage": "deep", "seconds": 5400}, {"stage": "rem", "seconds": 4800}],
    "zone": "Europe/Copenhagen",
    "supersedes": {"event_id": "8a7d8c1e-9f1b-5d5e-b2fb-3a2f8f1f7c10", "priority": "LOW"},
}
read_newer = full | {
    "device_type": "unknown",
    "kind": "unknown",
    "priority": "NORMAL",
    "supersedes": {"event_id": "8a7d8c1e-9f1b-5d5e-b2fb-3a2f8f1f7c10", "priority": "NORMAL"},
}

# An earlier one: without the fields that have a default.
older = copy.deepcopy(contract)
older["fields"] = [
    field for field in older["fields"] if field["name"] not in ("hrv_sdnn", "flags", "baseline", "supersedes", "deleted")
]
written_older = {
    name: value
    for name, value in full.items()
    if name not in ("hrv_sdnn", "flags", "baseline", "supersedes", "deleted")
}
read_older = full | {"hrv_sdnn": None, "flags": [], "baseline": None, "supersedes": None, "deleted": False}


def encode(schema, value, schema_id):
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(copy.deepcopy(schema)), value, strict=True)
    return struct.pack(">bI", 0, schema_id) + body.getvalue()


def defaulted(event):
    """What a reader of version 2 gets of an event that was written without its fields."""
    before = event["supersedes"]
    return event | {"generation": 0, "supersedes": None if before is None else before | {"alert_ids": []}}


def write(name, schema_file, schema, schema_id, written, read_by_1, read_by_2=None):
    (here / f"{name}.bin").write_bytes(encode(schema, written, schema_id))
    case = {
        "writer": schema_file,
        "schemaId": schema_id,
        "events": {"1": read_by_1, "2": read_by_2 or defaulted(read_by_1)},
    }
    (here / f"{name}.json").write_text(json.dumps(case, indent=2, ensure_ascii=False) + "\n")


# What version 2 writes, and what is left of it for a reader of version 1.
withdrawing = full | {
    "generation": 3,
    "supersedes": {
        "event_id": "8a7d8c1e-9f1b-5d5e-b2fb-3a2f8f1f7c10",
        "priority": "MEDIUM",
        "alert_ids": ["0d9e7a86-7f0c-5a38-8e0a-5f2f6d1c9e42", "956b10d8-d94e-80b6-b02d-54927fc16cac"],
    },
}
calm = reading | {"generation": 9007199254740990}

(here / "newer.avsc").write_text(json.dumps(newer, indent=2) + "\n")
(here / "older.avsc").write_text(json.dumps(older, indent=2) + "\n")
for name, event in {"nulls": reading, "full": full, "deletion": deletion, "edges": edges}.items():
    write(name, 1, contract, 1, event, event)
write("version-2", 2, version(2), 2, withdrawing, full, withdrawing)
write("version-2-nulls", 2, version(2), 2, calm, reading, calm)
write("newer-writer", "newer.avsc", newer, 4294967295, written_newer, read_newer)
write("older-writer", "older.avsc", older, 258, written_older, read_older)
