-- Queues, jobs, items, attempts: all that a controller must not forget.
--
-- Written in the words of SQLite; the module `dialect` says which of them become others elsewhere.
-- Times are microseconds since 1970-01-01 UTC, spans are microseconds.

CREATE TABLE queues (
    -- The name in lower case: names are unique without regard to case.
    key TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    operating_system_group TEXT NOT NULL,
    architecture TEXT NOT NULL,
    max_delivery_count BIGINT NOT NULL CHECK (max_delivery_count > 0),
    visibility TEXT NOT NULL CHECK (visibility IN ('open', 'internal')),
    estimated_removal BIGINT,
    priority BIGINT NOT NULL
);

CREATE TABLE jobs (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    queue_key TEXT NOT NULL,
    queue TEXT NOT NULL,
    name TEXT NOT NULL,
    creator TEXT NOT NULL,
    source TEXT NOT NULL,
    priority BIGINT NOT NULL,
    -- An object of JSON.
    properties TEXT NOT NULL,
    retry_of TEXT,
    fingerprint BLOB NOT NULL,
    created BIGINT NOT NULL,
    ended BIGINT,
    cancelled TEXT,
    total BIGINT NOT NULL,
    waiting BIGINT NOT NULL CHECK (waiting >= 0),
    running BIGINT NOT NULL CHECK (running >= 0),
    passed BIGINT NOT NULL DEFAULT 0,
    passed_on_retry BIGINT NOT NULL DEFAULT 0,
    failed BIGINT NOT NULL DEFAULT 0,
    timed_out BIGINT NOT NULL DEFAULT 0,
    cancelled_items BIGINT NOT NULL DEFAULT 0,
    dead BIGINT NOT NULL DEFAULT 0,
    last_event BIGINT NOT NULL,
    -- The place at the end of its lanes.
    next_position BIGINT NOT NULL,
    -- Grows with each change, for those who cannot be notified.
    revision BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX jobs_open ON jobs (queue_key) WHERE ended IS NULL;

-- What jobs are found by: digests of queue, creator, source and properties. Digests, because an
-- index takes only short keys.
CREATE TABLE labels (
    digest BLOB NOT NULL,
    job BIGINT NOT NULL REFERENCES jobs (key),
    PRIMARY KEY (digest, job)
) WITHOUT ROWID;

CREATE TABLE lanes (
    -- The job's key times 131072, plus the place among its lanes.
    key BIGINT NOT NULL PRIMARY KEY,
    job BIGINT NOT NULL REFERENCES jobs (key),
    demand BLOB NOT NULL,
    waiting BIGINT NOT NULL CHECK (waiting >= 0),
    -- Those of them that have a `not_before`.
    delayed BIGINT NOT NULL DEFAULT 0 CHECK (delayed >= 0)
);
CREATE INDEX lanes_waiting ON lanes (key) WHERE waiting > 0;
CREATE INDEX lanes_of_job ON lanes (job);

CREATE TABLE items (
    -- The job's key times 131072, plus the place in the submission.
    key BIGINT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    job BIGINT NOT NULL REFERENCES jobs (key),
    lane BIGINT NOT NULL REFERENCES lanes (key),
    name TEXT NOT NULL,
    retry_place TEXT NOT NULL CHECK (retry_place IN ('anywhere', 'another_machine')),
    delivery BIGINT NOT NULL,
    queue_max BIGINT NOT NULL,
    retries_requested BIGINT NOT NULL,
    retries_used BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'offered', 'running',
        'passed', 'passed_on_retry', 'failed', 'timed_out', 'cancelled', 'dead')),
    position BIGINT NOT NULL,
    not_before BIGINT,
    cancel_requested TEXT,
    since BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    exit_code BIGINT,
    reason TEXT,
    message TEXT,
    CHECK (delivery BETWEEN 1 AND queue_max)
);
CREATE UNIQUE INDEX items_by_name ON items (job, name);
CREATE INDEX items_ready ON items (lane, position) WHERE state = 'waiting' AND not_before IS NULL;
CREATE INDEX items_delayed ON items (lane, not_before)
    WHERE state = 'waiting' AND not_before IS NOT NULL;

CREATE TABLE specifications (
    item BIGINT NOT NULL PRIMARY KEY REFERENCES items (key),
    specification BLOB NOT NULL
);

CREATE TABLE attempts (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    item BIGINT NOT NULL REFERENCES items (key),
    job BIGINT NOT NULL,
    delivery BIGINT NOT NULL,
    queue_max BIGINT NOT NULL,
    retries_requested BIGINT NOT NULL,
    retries_used BIGINT NOT NULL,
    agent TEXT NOT NULL,
    controller TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('offered', 'running', 'judged', 'refused', 'lost')),
    offered BIGINT NOT NULL,
    accepted BIGINT,
    started BIGINT,
    ended BIGINT,
    last_event BIGINT NOT NULL,
    verdict TEXT CHECK (verdict IN ('passed', 'failed', 'timed_out', 'cancelled', 'infrastructure')),
    reason TEXT,
    message TEXT,
    exit_code BIGINT,
    elapsed BIGINT,
    cpu_time BIGINT,
    peak_memory_bytes BIGINT,
    -- Lists and objects of JSON; absent where there is nothing.
    counts TEXT,
    failures TEXT,
    degraded TEXT,
    warnings TEXT,
    log_place TEXT CHECK (log_place IN ('here', 'object')),
    log_object TEXT,
    log_bytes BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX attempts_of_item ON attempts (item, key);
-- Also keeps an item from being handed out twice.
CREATE UNIQUE INDEX attempts_open ON attempts (item) WHERE state IN ('offered', 'running');
CREATE INDEX attempts_held ON attempts (controller, key) WHERE state IN ('offered', 'running');

CREATE TABLE logs (
    attempt BIGINT NOT NULL PRIMARY KEY REFERENCES attempts (key),
    log BLOB NOT NULL
);

CREATE TABLE files (
    attempt BIGINT NOT NULL REFERENCES attempts (key),
    ordinal BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('console_log', 'test_result', 'upload', 'dump')),
    size BIGINT NOT NULL,
    sha256 BLOB NOT NULL,
    url TEXT NOT NULL,
    PRIMARY KEY (attempt, ordinal)
) WITHOUT ROWID;

CREATE TABLE refusals (
    item BIGINT NOT NULL REFERENCES items (key),
    agent TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    at BIGINT NOT NULL,
    until BIGINT NOT NULL,
    times BIGINT NOT NULL,
    -- What was refused, so that the same said again is recognised.
    attempt TEXT,
    epoch BIGINT,
    PRIMARY KEY (item, agent)
) WITHOUT ROWID;
CREATE INDEX refusals_of_attempt ON refusals (attempt) WHERE attempt IS NOT NULL;

CREATE TABLE events (
    job BIGINT NOT NULL REFERENCES jobs (key),
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('submitted', 'attempt_started', 'item_requeued',
        'item_retried', 'item_ended', 'ended')),
    item BIGINT,
    attempt TEXT,
    agent TEXT,
    reason TEXT,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;

CREATE TABLE flaky (
    key INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    queue_key TEXT NOT NULL,
    name TEXT NOT NULL,
    item BIGINT NOT NULL REFERENCES items (key)
);
CREATE INDEX flaky_since ON flaky (at);

CREATE TABLE controllers (
    id TEXT NOT NULL PRIMARY KEY,
    beat BIGINT NOT NULL
);

CREATE TABLE agents (
    name TEXT NOT NULL PRIMARY KEY,
    origin TEXT NOT NULL CHECK (origin IN ('configured', 'announced', 'tunnelled')),
    address TEXT NOT NULL,
    controller TEXT NOT NULL,
    capacity BLOB NOT NULL,
    boot_id TEXT NOT NULL,
    seen BIGINT NOT NULL
);
