-- SPDX-License-Identifier: Apache-2.0
-- On what an attempt ran, and from when to when, as the service tells that made
-- the machine for it; what it costs can be told from that.  NULL: not known.
ALTER TABLE attempt ADD COLUMN machine_type TEXT;
ALTER TABLE attempt ADD COLUMN accelerator TEXT;
ALTER TABLE attempt ADD COLUMN accelerators INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN region TEXT;
ALTER TABLE attempt ADD COLUMN spot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN machine_started_ms INTEGER;
ALTER TABLE attempt ADD COLUMN machine_ended_ms INTEGER;
