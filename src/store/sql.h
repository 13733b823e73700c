/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * sql.h - the only SQL of the program beside migrations/
 *
 * Every statement that changes a state repeats the old one.  Conditions in
 * capitals must read as in the partial index that serves them; INDEXED BY stands
 * where the planner, which knows nothing of how short those are, takes another.
 */

#define FLYING "state IN ('submitting', 'running')"
#define BUILD_IS_DUE "state = 'queued' AND not_before_ms = 0 AND cancel = 0"
#define BUILD_WAITS "state = 'queued' AND not_before_ms > 0"
#define BUILD_ASKED "cancel = 1 AND cancel > 0 AND finished_ms IS NULL"
/* Not before the forge has heard how it ended. */
#define BUILD_OLD \
        "finished_ms IS NOT NULL AND artifacts = 0 AND finished_ms < ?1 " \
        "AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.owner = coalesce(build.owner, build.id) " \
        "AND o.build = build.id AND o.seq > o.done_seq)"
#define IS_COMMIT "coalesce(commit_oid, after_oid) = ?1 AND repository = ?2 AND forge = ?3"
/* NULL while its commit is not known */
#define OWNER "CASE WHEN commit_oid IS NOT NULL THEN coalesce(owner, id) END"
#define JOB_IS_DUE "state = 'pending' AND not_before_ms = 0"
#define JOB_WAITS "state = 'pending' AND not_before_ms > 0"
#define NOTE_IS_OWED "lent_seq = 0 AND seq > done_seq"
#define NOTE_IS_DUE NOTE_IS_OWED " AND not_before_ms = 0"
#define NOTE_WAITS NOTE_IS_OWED " AND not_before_ms > 0"

/* One look at so many of the oldest finds the next one in nearly all cases;
 * else one visit to each repository does. */
#define HEAD_ROWS "64"

#define ATTEMPT_COLUMNS \
        "SELECT a.id AS id, a.job AS job, j.build AS build, a.number AS number, " \
        "a.executor AS executor, a.state AS state, j.forge AS forge, " \
        "j.repository AS repository, b.ref AS ref, b.commit_oid AS commit_oid, " \
        "j.notebook AS notebook, j.environment AS environment, j.timeout_us AS timeout_us, " \
        "j.cell_timeout_us AS cell_timeout_us, b.cancel AS cancel, j.notify AS notify, " \
        "coalesce(b.owner, b.id) AS owner, " \
        "j.state AS job_state " \
        "FROM job j JOIN build b ON b.id = j.build JOIN attempt a "

#define VIEW_BUILD_COLUMNS \
        "SELECT id, forge, repository, ref, coalesce(commit_oid, after_oid) AS commit_oid, " \
        "title, author, reason, cause, state, created_ms, started_ms, finished_ms, retry_of, " \
        "jobs, jobs_final, jobs_passed, cancel FROM build "

#define VIEW_JOB_COLUMNS \
        "SELECT j.id AS id, j.build AS build, j.forge AS forge, j.repository AS repository, " \
        "coalesce(b.commit_oid, b.after_oid) AS commit_oid, j.notebook AS notebook, " \
        "j.kind AS kind, j.executor AS executor, j.environment AS environment, " \
        "j.state AS state, j.class AS class, j.reason AS reason, j.ename AS ename, " \
        "j.evalue AS evalue, j.cell AS cell, j.cells AS cells, j.cells_done AS cells_done, " \
        "j.created_ms AS created_ms, j.started_ms AS started_ms, " \
        "j.finished_ms AS finished_ms, b.artifacts AS artifacts, j.findings AS findings " \
        "FROM job j JOIN build b ON b.id = j.build "

#define STORE_SQL(X) \
        X(BEGIN, "BEGIN IMMEDIATE") \
        X(COMMIT, "COMMIT") \
        X(ROLLBACK, "ROLLBACK") \
        X(JOURNAL, "PRAGMA journal_mode = wal") \
        X(VERSION, "PRAGMA user_version") \
        X(TABLES, "SELECT count(*) AS n FROM sqlite_schema") \
        /* ---- life ---- */ \
        X(MIGRATIONS, \
          "SELECT number, name, sha256, program FROM schema_migration ORDER BY number") \
        X(MIGRATED, "INSERT INTO schema_migration (number, name, sha256, applied_ms, program) " \
                    "VALUES (?1, ?2, ?3, ?4, ?5)") \
        X(INSTANCE, "SELECT instance FROM meta WHERE id = 1") \
        X(PING, "UPDATE meta SET pinged_ms = ?1 WHERE id = 1") \
        X(RECOVER_BUILDS, "UPDATE build SET state = 'queued', started_ms = NULL " \
                          "WHERE state = 'preparing'") \
        X(RECOVER_CANCELS, "UPDATE build SET cancel = 1 " \
                           "WHERE cancel = 2 AND cancel > 0 AND finished_ms IS NULL") \
        X(RECOVER_NOTES, "UPDATE outbox SET lent_seq = 0 WHERE lent_seq > 0") \
        /* ---- what waits for its time ---- */ \
        X(BUILD_NEXT, "SELECT min(not_before_ms) AS ms FROM build INDEXED BY build_waiting " \
                      "WHERE " BUILD_WAITS) \
        X(BUILD_WAKE, "UPDATE build INDEXED BY build_waiting SET not_before_ms = 0 " \
                      "WHERE " BUILD_WAITS " AND not_before_ms <= ?1") \
        X(JOB_NEXT, "SELECT min(not_before_ms) AS ms FROM job WHERE " JOB_WAITS) \
        X(JOB_WAKE, "UPDATE job SET not_before_ms = 0 " \
                    "WHERE " JOB_WAITS " AND not_before_ms <= ?1") \
        X(NOTE_NEXT, "SELECT min(not_before_ms) AS ms FROM outbox WHERE " NOTE_WAITS) \
        X(NOTE_WAKE, "UPDATE outbox SET not_before_ms = 0 " \
                     "WHERE " NOTE_WAITS " AND not_before_ms <= ?1") \
        /* ---- deliveries ---- */ \
        X(DELIVERY_FIND, "SELECT build FROM delivery WHERE delivery_id = ?1 AND forge = ?2") \
        /* lengths are compared without reading the bodies */ \
        X(DELIVERY_SAME, "SELECT d.build FROM build b JOIN delivery d ON d.build = b.id " \
                         "WHERE coalesce(b.commit_oid, b.after_oid) = ?1 AND b.repository = ?2 " \
                         "AND b.forge = ?3 AND d.build IS NOT NULL AND length(d.body) = ?4 " \
                         "AND d.body = ?5 LIMIT 1") \
        X(DELIVERY_ADD, "INSERT INTO delivery (forge, delivery_id, event_name, received_ms, " \
                        "build, ignored, headers, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)") \
        X(BACKLOG, "SELECT count(*) AS n FROM " \
                   "(SELECT 1 FROM build WHERE state = 'queued' LIMIT ?1)") \
        /* ---- builds ---- */ \
        /* builds of one commit: who owns its notes, and one to merge with */ \
        X(BUILD_SAME, "SELECT min(" OWNER ") AS owner, min(CASE WHEN state = 'queued' " \
                      "AND ref = ?4 AND kind = ?5 AND after_oid = ?1 AND cause = 'push' " \
                      "AND only_notebook IS NULL AND cancel = 0 THEN id END) AS id " \
                      "FROM build WHERE " IS_COMMIT) \
        X(BUILD_OWNER, "SELECT min(" OWNER ") AS owner FROM build WHERE " IS_COMMIT) \
        X(BUILD_ADD, \
          "INSERT INTO build (forge, repository, kind, ref, before_oid, after_oid, " \
          "commit_oid, owner, default_branch, title, author, cause, state, created_ms) " \
          "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'push', 'queued', " \
          "?12)") \
        X(BUILD_COPY, \
          "INSERT INTO build (forge, repository, kind, ref, before_oid, after_oid, " \
          "commit_oid, owner, default_branch, title, author, cause, state, " \
          "created_ms, only_notebook, retry_of) " \
          "SELECT forge, repository, kind, ref, before_oid, after_oid, commit_oid, " OWNER \
          ", default_branch, title, author, 'manual', 'queued', ?2, " \
          "coalesce(?3, only_notebook), id FROM build WHERE id = ?1") \
        X(BUILD_GET, "SELECT * FROM build WHERE id = ?1") \
        X(BUILD_ANY_DUE, \
          "SELECT 1 FROM build INDEXED BY build_due WHERE " BUILD_IS_DUE " LIMIT 1") \
        X(BUILD_HEAD, \
          "SELECT id FROM (SELECT id, forge, repository, not_before_ms, cancel " \
          "FROM build INDEXED BY build_state WHERE state = 'queued' " \
          "ORDER BY id LIMIT " HEAD_ROWS ") q " \
          "WHERE not_before_ms = 0 AND cancel = 0 AND NOT EXISTS (SELECT 1 FROM build p " \
          "WHERE p.state = 'preparing' AND p.forge = q.forge AND p.repository = q.repository) " \
          "ORDER BY id LIMIT 1") \
        X(BUILD_FAIR, "WITH RECURSIVE head (id) AS (" \
                      "SELECT (SELECT id FROM build INDEXED BY build_due WHERE " BUILD_IS_DUE \
                      " ORDER BY forge, repository, id LIMIT 1) " \
                      "UNION ALL SELECT coalesce(" \
                      "(SELECT id FROM build n INDEXED BY build_due WHERE n." BUILD_IS_DUE \
                      " AND n.forge = b.forge AND n.repository > b.repository " \
                      "ORDER BY n.repository, n.id LIMIT 1), " \
                      "(SELECT id FROM build n INDEXED BY build_due WHERE n." BUILD_IS_DUE \
                      " AND n.forge > b.forge ORDER BY n.forge, n.repository, n.id LIMIT 1)) " \
                      "FROM head h JOIN build b ON b.id = h.id) " \
                      "SELECT b.id AS id FROM head h JOIN build b ON b.id = h.id " \
                      "ORDER BY (SELECT count(*) FROM build p WHERE p.state = 'preparing' " \
                      "AND p.forge = b.forge AND p.repository = b.repository), b.id LIMIT 1") \
        X(BUILD_PICKED, "UPDATE build SET state = 'preparing', started_ms = ?2 " \
                        "WHERE id = ?1 AND state = 'queued'") \
        X(BUILD_AGAIN, "UPDATE build SET state = 'queued', started_ms = NULL, " \
                       "tries = tries + 1, not_before_ms = ?2, reason = ?3 " \
                       "WHERE id = ?1 AND state = 'preparing'") \
        X(BUILD_FACTS, \
          "UPDATE build SET commit_oid = ?2, owner = ?3, title = coalesce(?4, title), " \
          "reason = ?5, jobs = ?6, jobs_final = ?7 " \
          "WHERE id = ?1 AND state = 'preparing'") \
        X(BUILD_RUN, "UPDATE build SET state = 'running', artifacts = 1 " \
                     "WHERE id = ?1 AND state = 'preparing'") \
        X(BUILD_COUNT, "UPDATE build SET jobs_final = jobs_final + ?2, " \
                       "jobs_passed = jobs_passed + ?3 WHERE id = ?1 AND state = 'running'") \
        X(BUILD_END, "UPDATE build SET state = ?3, reason = coalesce(reason, ?4), " \
                     "finished_ms = ?5, not_before_ms = 0 WHERE id = ?1 AND state = ?2") \
        X(BUILD_REASON, "UPDATE build SET reason = ?2 WHERE id = ?1") \
        X(CANCEL_ASK, "UPDATE build SET cancel = 1 " \
                      "WHERE id = ?1 AND cancel = 0 AND finished_ms IS NULL") \
        X(CANCEL_NEXT, "SELECT id FROM build WHERE " BUILD_ASKED " ORDER BY id LIMIT 1") \
        X(CANCEL_DONE, "UPDATE build SET cancel = 2 WHERE id = ?1 AND cancel = 1") \
        /* ---- jobs and attempts ---- */ \
        X(JOB_ADD, "INSERT INTO job (build, position, forge, repository, kind, notebook, " \
                   "executor, environment, timeout_us, cell_timeout_us, notify, state, class, " \
                   "reason, cells, created_ms, finished_ms, findings) " \
                   "VALUES (?1, ?2, ?3, ?4, 'notebook', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, " \
                   "?13, ?14, ?15, ?16, ?17)") \
        X(JOB_TALLY, "SELECT count(*) AS n FROM job WHERE build = ?1 AND state IN (?2, ?3)") \
        X(JOB_FIRST, "SELECT notebook, class, reason FROM job " \
                     "WHERE build = ?1 AND state IN (?2, ?3) ORDER BY position LIMIT 1") \
        X(JOB_ANY_DUE, "SELECT 1 FROM job INDEXED BY job_due WHERE " JOB_IS_DUE " LIMIT 1") \
        X(JOB_HEAD, \
          "SELECT q.id AS id, 0 AS busy FROM (SELECT id, build, forge, repository, " \
          "not_before_ms FROM job INDEXED BY job_pending " \
          "WHERE state = 'pending' AND executor = ?1 ORDER BY id LIMIT " HEAD_ROWS ") q " \
          "JOIN build b ON b.id = q.build " \
          "WHERE q.not_before_ms = 0 AND b.cancel = 0 AND ?2 > 0 " \
          "AND NOT EXISTS (SELECT 1 FROM job f WHERE f." FLYING \
          " AND f.forge = q.forge AND f.repository = q.repository) " \
          "ORDER BY q.id LIMIT 1") \
        X(JOB_FAIR, \
          "WITH RECURSIVE head (id) AS (" \
          "SELECT (SELECT id FROM job INDEXED BY job_due WHERE " JOB_IS_DUE \
          " AND executor = ?1 ORDER BY forge, repository, id LIMIT 1) " \
          "UNION ALL SELECT coalesce(" \
          "(SELECT id FROM job n INDEXED BY job_due WHERE n." JOB_IS_DUE \
          " AND n.executor = ?1 AND n.forge = j.forge AND n.repository > j.repository " \
          "ORDER BY n.repository, n.id LIMIT 1), " \
          "(SELECT id FROM job n INDEXED BY job_due WHERE n." JOB_IS_DUE \
          " AND n.executor = ?1 AND n.forge > j.forge " \
          "ORDER BY n.forge, n.repository, n.id LIMIT 1)) " \
          "FROM head h JOIN job j ON j.id = h.id) " \
          "SELECT id, busy FROM (SELECT j.id AS id, (SELECT count(*) FROM job f " \
          "WHERE f." FLYING " AND f.forge = j.forge AND f.repository = j.repository) AS busy " \
          "FROM head h JOIN job j ON j.id = h.id JOIN build b ON b.id = j.build " \
          "WHERE b.cancel = 0) WHERE busy < ?2 ORDER BY busy, id LIMIT 1") \
        X(JOB_SUBMIT, "UPDATE job SET state = 'submitting', attempts = attempts + 1, " \
                      "reason = NULL WHERE id = ?1 AND state = 'pending'") \
        X(JOB_RUN, "UPDATE job SET state = 'running', started_ms = ?2 " \
                   "WHERE id = ?1 AND state = 'submitting'") \
        X(JOB_PROGRESS, "UPDATE job SET cells = ?2, cells_done = ?3, cell = ?4 " \
                        "WHERE id = (SELECT job FROM attempt WHERE id = ?1 " \
                        "AND state = 'running') AND state = 'running'") \
        X(JOB_AGAIN, "UPDATE job SET state = 'pending', not_before_ms = ?3, reason = ?4, " \
                     "cell = 0, cells_done = 0, started_ms = NULL " \
                     "WHERE id = ?1 AND state = ?2") \
        X(JOB_END, "UPDATE job SET state = ?3, class = ?4, reason = ?5, ename = ?6, " \
                   "evalue = ?7, cell = ?8, cells = ?9, cells_done = ?10, finished_ms = ?11, " \
                   "not_before_ms = 0 WHERE id = ?1 AND state = ?2") \
        X(JOBS_STOP, "UPDATE job SET state = 'cancelled', class = 'cancelled', reason = ?2, " \
                     "finished_ms = ?3, not_before_ms = 0 " \
                     "WHERE build = ?1 AND state IN ('waiting', 'pending')") \
        X(JOBS_DROP, "UPDATE job SET state = 'cancelled', class = 'cancelled', reason = ?2, " \
                     "finished_ms = ?3 WHERE build = ?1 AND " FLYING) \
        X(JOBS_STOPPED, "SELECT id, notebook FROM job " \
                        "WHERE build = ?1 AND state = 'cancelled' AND notify = 1") \
        X(JOB_EXECUTORS, "SELECT DISTINCT executor FROM job WHERE state = 'pending'") \
        X(JOB_ORPHAN, "SELECT id, build, notebook, notify, cells FROM job " \
                      "WHERE state = 'pending' AND executor = ?1 ORDER BY id LIMIT 1") \
        X(JOB_BUILD, "SELECT build, notebook FROM job WHERE id = ?1") \
        X(ATTEMPT_ADD, "INSERT INTO attempt (job, number, executor, state, created_ms) " \
                       "SELECT id, attempts, executor, 'submitting', ?2 FROM job WHERE id = ?1") \
        X(ATTEMPT_GET, ATTEMPT_COLUMNS "ON a.job = j.id WHERE a.id = ?1") \
        X(ATTEMPTS_FLYING, ATTEMPT_COLUMNS "INDEXED BY attempt_flying ON a.job = j.id " \
                                           "WHERE a." FLYING " ORDER BY a.id") \
        X(ATTEMPT_RUN, "UPDATE attempt SET state = 'running', started_ms = ?2 " \
                       "WHERE id = ?1 AND state = 'submitting'") \
        X(ATTEMPT_END, "UPDATE attempt SET state = ?3, class = ?4, reason = ?5, " \
                       "finished_ms = ?6, wall_us = ?7, cpu_us = ?8, mem_peak = ?9, " \
                       "machine_type = ?10, accelerator = ?11, accelerators = ?12, " \
                       "region = ?13, spot = ?14, machine_started_ms = nullif(?15, 0), " \
                       "machine_ended_ms = nullif(?16, 0) " \
                       "WHERE id = ?1 AND state = ?2") \
        X(ATTEMPTS_DROP, "UPDATE attempt SET state = 'cancelled', class = 'cancelled', " \
                         "reason = ?2, finished_ms = ?3 WHERE " FLYING \
                         " AND job IN (SELECT id FROM job WHERE build = ?1)") \
        /* ---- outbox ---- */ \
        X(NOTE_PUT, \
          "INSERT INTO outbox (owner, context, forge, repository, commit_oid, ref, build, " \
          "state, text, target, seq, since_ms) " \
          "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11) " \
          "ON CONFLICT (owner, context) DO UPDATE SET " \
          "since_ms = CASE WHEN seq > max(done_seq, lent_seq) THEN since_ms " \
          "ELSE excluded.since_ms END, " \
          "tries = CASE WHEN seq > done_seq THEN tries ELSE 0 END, " \
          "ref = excluded.ref, build = excluded.build, state = excluded.state, " \
          "text = excluded.text, target = excluded.target, seq = seq + 1 " \
          "WHERE state <> excluded.state OR text <> excluded.text " \
          "OR target <> excluded.target") \
        X(NOTE_HEAD, \
          "SELECT id, seq, tries, forge, repository, ref, commit_oid, context, " \
          "text, target, state FROM outbox WHERE " NOTE_IS_DUE " ORDER BY since_ms, id LIMIT 1") \
        X(NOTE_LEND, "UPDATE outbox SET lent_seq = ?2 " \
                     "WHERE id = ?1 AND seq = ?2 AND lent_seq = 0") \
        X(NOTE_DONE, "UPDATE outbox SET lent_seq = 0, done_seq = ?2, tries = 0, " \
                     "refused_seq = CASE WHEN ?3 THEN ?2 ELSE refused_seq END " \
                     "WHERE id = ?1 AND lent_seq = ?2") \
        X(NOTE_AGAIN, "UPDATE outbox SET lent_seq = 0, tries = tries + 1, not_before_ms = ?3 " \
                      "WHERE id = ?1 AND lent_seq = ?2") \
        /* ---- retention ---- */ \
        X(ARTIFACTS_OLD, "SELECT id FROM build WHERE finished_ms IS NOT NULL " \
                         "AND artifacts = 1 AND finished_ms < ?1 ORDER BY finished_ms LIMIT ?2") \
        X(ARTIFACTS_GONE, "UPDATE build SET artifacts = 0 WHERE id = ?1 AND artifacts = 1 " \
                          "AND finished_ms IS NOT NULL") \
        X(PRUNE_NEXT, "SELECT id FROM build WHERE " BUILD_OLD " ORDER BY finished_ms LIMIT 1") \
        X(PRUNE_DELIVERIES, "DELETE FROM delivery WHERE id IN " \
                            "(SELECT id FROM delivery WHERE build = ?1 LIMIT ?2)") \
        X(PRUNE_ATTEMPTS, "DELETE FROM attempt WHERE job IN " \
                          "(SELECT id FROM job WHERE build = ?1)") \
        X(PRUNE_JOBS, "DELETE FROM job WHERE build = ?1") \
        X(PRUNE_NOTES, "DELETE FROM outbox WHERE build = ?1 AND seq = done_seq AND owner = " \
                       "(SELECT coalesce(owner, id) FROM build WHERE id = ?1)") \
        X(PRUNE_BUILD, "DELETE FROM build WHERE id = ?1 AND finished_ms IS NOT NULL") \
        X(PRUNE_IGNORED, "DELETE FROM delivery WHERE id IN (SELECT id FROM delivery " \
                         "WHERE build IS NULL AND received_ms < ?1 ORDER BY received_ms " \
                         "LIMIT ?2)") \
        X(PRUNE_MORE, "SELECT 1 WHERE EXISTS (SELECT 1 FROM build WHERE " BUILD_OLD ") " \
                      "OR EXISTS (SELECT 1 FROM delivery WHERE build IS NULL " \
                      "AND received_ms < ?1)") \
        /* ---- pages ---- */ \
        X(VIEW_BUILDS, VIEW_BUILD_COLUMNS "WHERE id < ?1 ORDER BY id DESC LIMIT ?2") \
        X(VIEW_BUILDS_OF, \
          VIEW_BUILD_COLUMNS "WHERE id < ?1 AND repository = ?3 ORDER BY id DESC LIMIT ?2") \
        X(VIEW_BUILDS_IN, \
          VIEW_BUILD_COLUMNS "WHERE id < ?1 AND state = ?3 ORDER BY id DESC LIMIT ?2") \
        X(VIEW_BUILDS_OF_IN, VIEW_BUILD_COLUMNS \
          "WHERE id < ?1 AND repository = ?3 AND +state = ?4 ORDER BY id DESC LIMIT ?2") \
        X(VIEW_BUILD, VIEW_BUILD_COLUMNS "WHERE id = ?1") \
        X(VIEW_JOBS, VIEW_JOB_COLUMNS "WHERE j.build = ?1 ORDER BY j.position") \
        X(VIEW_JOB, VIEW_JOB_COLUMNS "WHERE j.id = ?1") \
        X(VIEW_ATTEMPTS, "SELECT *, 'nbcid-' || (SELECT instance FROM meta WHERE id = 1) " \
                         "|| '-' || id AS ref FROM attempt WHERE job = ?1 ORDER BY number") \
        X(GAUGE_BUILDS, "SELECT state, count(*) AS n FROM build GROUP BY state") \
        X(GAUGE_JOBS, "SELECT state, count(*) AS n FROM job WHERE state IN " \
                      "('waiting', 'pending', 'submitting', 'running') GROUP BY state") \
        X(GAUGE_OUTBOX, "SELECT (SELECT count(*) FROM outbox WHERE " NOTE_IS_DUE \
                        ") + (SELECT count(*) FROM outbox WHERE " NOTE_WAITS \
                        ") + (SELECT count(*) FROM outbox WHERE lent_seq > 0) AS n") \
        X(GAUGE_OLDEST, "SELECT created_ms FROM build WHERE state = 'queued' " \
                        "ORDER BY id LIMIT 1") \
        X(GAUGE_SIZE, "SELECT page_count * page_size AS n " \
                      "FROM pragma_page_count, pragma_page_size")

enum sql {
#define X(name, text) SQL_##name,
        STORE_SQL(X)
#undef X
                SQL__COUNT
};
