-- SPDX-License-Identifier: Apache-2.0
-- Times (_ms) are milliseconds of UTC since 1970; NULL or 0: not yet.
-- not_before_ms 0 means due now: what falls due is set to 0, so that the
-- indexes of due rows hold nothing that still waits.
-- States are the names of include/nbcid/model.h.
-- Checks of more than two values are written with OR: for each IN of more, sqlite
-- fills a table of its own in every statement that writes the row.
PRAGMA application_id = 0x6e626364;

CREATE TABLE schema_migration (
        number     INTEGER PRIMARY KEY,
        name       TEXT NOT NULL,
        sha256     TEXT NOT NULL,
        applied_ms INTEGER NOT NULL,
        program    TEXT NOT NULL
) STRICT;

CREATE TABLE meta (
        id        INTEGER PRIMARY KEY CHECK (id = 1),
        instance  TEXT NOT NULL,
        pinged_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO meta (id, instance) VALUES (1, lower(hex(randomblob(4))));

-- AUTOINCREMENT: ids are in URLs and in the names of runs and never come back.
CREATE TABLE build (
        id             INTEGER PRIMARY KEY AUTOINCREMENT,
        forge          TEXT NOT NULL,
        repository     TEXT NOT NULL,
        kind           TEXT NOT NULL CHECK (kind IN ('push', 'tag')),
        ref            TEXT NOT NULL,
        before_oid     TEXT NOT NULL,
        after_oid      TEXT NOT NULL,
        commit_oid     TEXT,            -- peeled; NULL: a tag not looked at yet
        owner          INTEGER,         -- outbox.owner of its commit; NULL like commit_oid
        default_branch TEXT,
        title          TEXT,
        author         TEXT,
        cause          TEXT NOT NULL
                       CHECK (cause = 'push' OR cause = 'pull_request' OR cause = 'schedule' OR
                              cause = 'manual'),
        state          TEXT NOT NULL
                       CHECK (state = 'queued' OR state = 'preparing' OR state = 'running' OR
                              state = 'passed' OR state = 'failed' OR state = 'errored' OR
                              state = 'cancelled'),
        reason         TEXT,
        only_notebook  TEXT,
        retry_of       INTEGER,         -- may be pruned: no reference
        tries          INTEGER NOT NULL DEFAULT 0,
        not_before_ms  INTEGER NOT NULL DEFAULT 0,
        cancel         INTEGER NOT NULL DEFAULT 0 CHECK (cancel BETWEEN 0 AND 2), -- 1 asked, 2 applied
        artifacts      INTEGER NOT NULL DEFAULT 0 CHECK (artifacts IN (0, 1)),
        created_ms     INTEGER NOT NULL,
        started_ms     INTEGER,
        finished_ms    INTEGER,
        jobs           INTEGER NOT NULL DEFAULT 0,
        jobs_final     INTEGER NOT NULL DEFAULT 0,
        jobs_passed    INTEGER NOT NULL DEFAULT 0,
        CHECK ((finished_ms IS NOT NULL) =
               (state <> 'queued' AND state <> 'preparing' AND state <> 'running'))
) STRICT;
CREATE INDEX build_state ON build (state);
CREATE INDEX build_repository ON build (repository);
CREATE INDEX build_commit ON build (coalesce(commit_oid, after_oid));
CREATE INDEX build_due ON build (forge, repository)
        WHERE state = 'queued' AND not_before_ms = 0 AND cancel = 0;
CREATE INDEX build_waiting ON build (not_before_ms)
        WHERE state = 'queued' AND not_before_ms > 0;
CREATE INDEX build_preparing ON build (forge, repository) WHERE state = 'preparing';
CREATE INDEX build_cancel ON build (cancel) WHERE cancel > 0 AND finished_ms IS NULL;
CREATE INDEX build_artifacts ON build (finished_ms)
        WHERE finished_ms IS NOT NULL AND artifacts = 1;
CREATE INDEX build_old ON build (finished_ms) WHERE finished_ms IS NOT NULL AND artifacts = 0;

-- The body stands last: the other columns are read without it.
CREATE TABLE delivery (
        id          INTEGER PRIMARY KEY,
        forge       TEXT NOT NULL,
        delivery_id TEXT NOT NULL,
        event_name  TEXT NOT NULL,
        received_ms INTEGER NOT NULL,
        build       INTEGER REFERENCES build (id),
        ignored     TEXT,               -- why, when build is NULL
        headers     TEXT NOT NULL,
        body        BLOB NOT NULL,
        CHECK ((build IS NULL) = (ignored IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX delivery_key ON delivery (delivery_id, forge);
CREATE INDEX delivery_build ON delivery (build) WHERE build IS NOT NULL;
CREATE INDEX delivery_ignored ON delivery (received_ms) WHERE build IS NULL;

-- forge and repository repeat the build's: choosing the next job counts by them.
CREATE TABLE job (
        id              INTEGER PRIMARY KEY AUTOINCREMENT,
        build           INTEGER NOT NULL REFERENCES build (id),
        position        INTEGER NOT NULL,
        forge           TEXT NOT NULL,
        repository      TEXT NOT NULL,
        kind            TEXT NOT NULL CHECK (kind IN ('notebook')),
        notebook        TEXT NOT NULL,
        executor        TEXT NOT NULL,
        environment     TEXT NOT NULL,  -- JSON object
        timeout_us      INTEGER NOT NULL,
        cell_timeout_us INTEGER NOT NULL,
        notify          INTEGER NOT NULL CHECK (notify IN (0, 1)),
        state           TEXT NOT NULL
                        CHECK (state = 'waiting' OR state = 'pending' OR
                               state = 'submitting' OR state = 'running' OR state = 'passed' OR
                               state = 'failed' OR state = 'errored' OR state = 'timed_out' OR
                               state = 'cancelled' OR state = 'skipped'),
        class           TEXT NOT NULL DEFAULT '',
        reason          TEXT,
        ename           TEXT,
        evalue          TEXT,
        cell            INTEGER NOT NULL DEFAULT 0,
        cells           INTEGER NOT NULL DEFAULT 0,
        cells_done      INTEGER NOT NULL DEFAULT 0,
        attempts        INTEGER NOT NULL DEFAULT 0,
        not_before_ms   INTEGER NOT NULL DEFAULT 0,
        created_ms      INTEGER NOT NULL,
        started_ms      INTEGER,
        finished_ms     INTEGER
) STRICT;
CREATE UNIQUE INDEX job_build ON job (build, position);
CREATE INDEX job_pending ON job (executor) WHERE state = 'pending';
CREATE INDEX job_due ON job (executor, forge, repository)
        WHERE state = 'pending' AND not_before_ms = 0;
CREATE INDEX job_waiting ON job (not_before_ms) WHERE state = 'pending' AND not_before_ms > 0;
CREATE INDEX job_flying ON job (forge, repository) WHERE state IN ('submitting', 'running');
CREATE INDEX job_open ON job (state)
        WHERE state IN ('waiting', 'pending', 'submitting', 'running');

-- An attempt's ref is "nbcid-" || meta.instance || "-" || id.
CREATE TABLE attempt (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        job         INTEGER NOT NULL REFERENCES job (id),
        number      INTEGER NOT NULL,
        executor    TEXT NOT NULL,
        state       TEXT NOT NULL
                    CHECK (state = 'submitting' OR state = 'running' OR state = 'passed' OR
                           state = 'failed' OR state = 'errored' OR state = 'timed_out' OR
                           state = 'cancelled'),
        class       TEXT NOT NULL DEFAULT '',
        reason      TEXT,
        created_ms  INTEGER NOT NULL,
        started_ms  INTEGER,
        finished_ms INTEGER,
        wall_us     INTEGER NOT NULL DEFAULT 0,
        cpu_us      INTEGER NOT NULL DEFAULT 0,
        mem_peak    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX attempt_job ON attempt (job, number);
CREATE INDEX attempt_flying ON attempt (job) WHERE state IN ('submitting', 'running');

-- One row for each commit status.  owner stands for the (forge, repository,
-- commit): the first build that had it, which may be pruned since, so no
-- reference; rows of one owner lie together, those of a commit would not.
-- build wrote it last.  seq counts what we wanted it to show;
-- lent_seq is the one on its way (0: none), done_seq the last one that the
-- forge took or refused for good (then refused_seq too).
CREATE TABLE outbox (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        owner         INTEGER NOT NULL,
        context       TEXT NOT NULL,
        forge         TEXT NOT NULL,
        repository    TEXT NOT NULL,
        commit_oid    TEXT NOT NULL,
        ref           TEXT NOT NULL,
        build         INTEGER NOT NULL,
        state         TEXT NOT NULL
                      CHECK (state = 'pending' OR state = 'running' OR state = 'success' OR
                             state = 'failure' OR state = 'error' OR state = 'cancelled'),
        text          TEXT NOT NULL,
        target        TEXT NOT NULL,
        seq           INTEGER NOT NULL,
        lent_seq      INTEGER NOT NULL DEFAULT 0,
        done_seq      INTEGER NOT NULL DEFAULT 0,
        refused_seq   INTEGER NOT NULL DEFAULT 0,
        tries         INTEGER NOT NULL DEFAULT 0,
        not_before_ms INTEGER NOT NULL DEFAULT 0,
        since_ms      INTEGER NOT NULL  -- the oldest change that is not yet lent
) STRICT;
CREATE UNIQUE INDEX outbox_key ON outbox (owner, context);
CREATE INDEX outbox_due ON outbox (since_ms)
        WHERE lent_seq = 0 AND seq > done_seq AND not_before_ms = 0;
CREATE INDEX outbox_waiting ON outbox (not_before_ms)
        WHERE lent_seq = 0 AND seq > done_seq AND not_before_ms > 0;
CREATE INDEX outbox_lent ON outbox (lent_seq) WHERE lent_seq > 0;
