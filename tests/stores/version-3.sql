PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE conversations (
            id TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL
        );
INSERT INTO "conversations" VALUES('cccccccccccccccccccccccccccccccc','video','What moves?',1750000000.5,1750000000.5);
CREATE TABLE media (
            sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, mime TEXT NOT NULL, bytes INTEGER NOT NULL
        );
CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            conversation_id TEXT NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
            role TEXT NOT NULL, text TEXT NOT NULL, attachments TEXT NOT NULL, reply_to INTEGER, status TEXT NOT NULL,
            active INTEGER NOT NULL DEFAULT 1, model TEXT NOT NULL DEFAULT '', revision TEXT NOT NULL DEFAULT '',
            settings TEXT, stats TEXT, error TEXT NOT NULL DEFAULT '', created REAL NOT NULL, owner TEXT NOT NULL DEFAULT ''
        , parent INTEGER);
INSERT INTO "messages" VALUES(1,'cccccccccccccccccccccccccccccccc','user','What moves?','[{"kind": "video", "sha256": "abababababababababababababababababababababababababababababababab", "name": "clip.mp4", "mime": "video/mp4", "width": 64, "height": 48, "shown": true, "duration_seconds": 4.0, "range_seconds": [0.0, 4.0], "frames": [{"timestamp_seconds": 0.5, "frame_index": 5, "sha256": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"}], "decoder": "PyAV", "strategy": "even", "notes": ["1 frame is damaged"]}]',NULL,'complete',1,'','',NULL,NULL,'',1750000000.5,'',NULL);
INSERT INTO "messages" VALUES(2,'cccccccccccccccccccccccccccccccc','assistant','A circle.','[]',1,'complete',1,'model','abc','{"max_new_tokens": 256, "temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 7, "system_prompt": ""}','{"stop_reason": "end", "image_tokens": 0, "prompt_tokens": 0, "reused_tokens": 0, "new_tokens": 0, "time_to_first_token_seconds": null, "tokens_per_second": null, "total_seconds": 0.0, "queued_seconds": 0.0, "load_seconds": 0.0, "peak_memory_bytes": 0, "memory_of": "", "weights_bytes": 0, "prompt_fingerprint": ""}','',1750000000.5,'31871 1795827883.67',NULL);
INSERT INTO "messages" VALUES(3,'cccccccccccccccccccccccccccccccc','user','And now?','[]',NULL,'complete',1,'','',NULL,NULL,'',1750000000.5,'',2);
INSERT INTO "messages" VALUES(4,'cccccccccccccccccccccccccccccccc','assistant','It is half','[]',3,'running',1,'model','','{"max_new_tokens": 256, "temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 7, "system_prompt": ""}',NULL,'',1750000000.5,'999999 1.00',NULL);
INSERT INTO "messages" VALUES(5,'cccccccccccccccccccccccccccccccc','assistant','A square.','[]',1,'complete',0,'model','abc','{"max_new_tokens": 256, "temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0, "seed": 7, "system_prompt": ""}','{"stop_reason": "end", "image_tokens": 0, "prompt_tokens": 0, "reused_tokens": 0, "new_tokens": 0, "time_to_first_token_seconds": null, "tokens_per_second": null, "total_seconds": 0.0, "queued_seconds": 0.0, "load_seconds": 0.0, "peak_memory_bytes": 0, "memory_of": "", "weights_bytes": 0, "prompt_fingerprint": ""}','',1750000000.5,'31871 1795827883.67',NULL);
INSERT INTO "messages" VALUES(6,'cccccccccccccccccccccccccccccccc','user','Where does it go?','[]',NULL,'complete',0,'','',NULL,NULL,'',1750000000.5,'',2);
CREATE INDEX messages_of ON messages(conversation_id, id);
CREATE INDEX conversations_by_update ON conversations(kind, updated);
CREATE INDEX messages_by_question ON messages(reply_to);
COMMIT;
