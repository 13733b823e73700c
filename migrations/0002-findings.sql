-- SPDX-License-Identifier: Apache-2.0
-- What the static gate found in a job's notebook: a JSON array, worst first.
ALTER TABLE job ADD COLUMN findings TEXT NOT NULL DEFAULT '[]';
