-- The directory of a cell. The agent owns it; Dovecot, SOGo and Postfix see only what stands at the end.
CREATE SCHEMA IF NOT EXISTS directory;
SET search_path = directory;

CREATE TABLE IF NOT EXISTS box (
  backend_id       text PRIMARY KEY,
  mailbox_id       text NOT NULL UNIQUE,
  kind             text NOT NULL,
  service_class    text NOT NULL CHECK (service_class IN ('pop3', 'imap', 'exchange')),
  display_name     text NOT NULL,
  quota_mib        integer NOT NULL CHECK (quota_mib >= 0),
  protocols        text[] NOT NULL,
  suspended        boolean NOT NULL DEFAULT false,
  password_version integer NOT NULL DEFAULT 0,
  password_hash    text,
  presence         text NOT NULL DEFAULT 'present' CHECK (presence IN ('present', 'deleted')),
  archive          boolean NOT NULL DEFAULT false,
  -- Whether its standard folders have been made.
  settled          boolean NOT NULL DEFAULT false,
  -- home: lives here; arriving: being copied to here; frozen: the last pass of a move away runs.
  phase            text NOT NULL DEFAULT 'home' CHECK (phase IN ('home', 'arriving', 'frozen')),
  moving_to        text,
  frozen_until     timestamptz
);
CREATE TABLE IF NOT EXISTS address (
  address    text PRIMARY KEY CHECK (address = lower(address)),
  backend_id text NOT NULL REFERENCES box ON DELETE CASCADE,
  position   integer NOT NULL,
  UNIQUE (backend_id, position) DEFERRABLE INITIALLY DEFERRED
);
-- Mailboxes of other cells: grantees here, and where their mail goes.
CREATE TABLE IF NOT EXISTS guest (
  backend_id   text PRIMARY KEY,
  mailbox_id   text NOT NULL,
  display_name text NOT NULL,
  cell         text NOT NULL
);
CREATE INDEX IF NOT EXISTS guest_mailbox ON guest (mailbox_id);
-- Where other cells take mail, as host:port.
CREATE TABLE IF NOT EXISTS peer (cell text PRIMARY KEY, smtp text NOT NULL);
CREATE TABLE IF NOT EXISTS guest_address (
  address    text PRIMARY KEY CHECK (address = lower(address)),
  backend_id text NOT NULL REFERENCES guest ON DELETE CASCADE,
  position   integer NOT NULL
);
-- What was asked for, since neither Dovecot nor SOGo can hold every Exchange mask.
CREATE TABLE IF NOT EXISTS folder_right (
  backend_id text NOT NULL REFERENCES box ON DELETE CASCADE,
  folder_id  text NOT NULL,
  grantee    text NOT NULL,
  mask       integer NOT NULL,
  PRIMARY KEY (backend_id, folder_id, grantee)
);
CREATE INDEX IF NOT EXISTS folder_right_grantee ON folder_right (grantee);
CREATE TABLE IF NOT EXISTS mailbox_grant (
  backend_id text NOT NULL REFERENCES box ON DELETE CASCADE,
  role       text NOT NULL CHECK (role IN ('full_access', 'send_as', 'send_on_behalf')),
  grantee    text NOT NULL,
  PRIMARY KEY (backend_id, role, grantee)
);
CREATE INDEX IF NOT EXISTS mailbox_grant_grantee ON mailbox_grant (grantee);
-- Who shares folders with whom, kept by Dovecot. A table, because its file would be rewritten for every change.
CREATE TABLE IF NOT EXISTS group_share (
  from_user text NOT NULL, to_group text NOT NULL, dummy char(1) DEFAULT '1', PRIMARY KEY (from_user, to_group)
);
CREATE INDEX IF NOT EXISTS group_share_to ON group_share (to_group);
CREATE TABLE IF NOT EXISTS user_share (
  from_user text NOT NULL, to_user text NOT NULL, dummy char(1) DEFAULT '1', PRIMARY KEY (from_user, to_user)
);
CREATE TABLE IF NOT EXISTS anyone_share (from_user text PRIMARY KEY, dummy char(1) DEFAULT '1');
-- A freeze ends by itself: whoever asked for it may have died.
CREATE OR REPLACE VIEW homes AS
  SELECT b.backend_id, b.kind, b.service_class, b.display_name, b.quota_mib, b.protocols, b.suspended, b.password_hash,
         b.presence, b.archive, a.address,
         CASE WHEN b.phase = 'frozen' AND b.frozen_until <= now() THEN 'home' ELSE b.phase END AS phase
    FROM box b JOIN address a ON a.backend_id = b.backend_id AND a.position = 0;

-- For Dovecot's logins, by any of the addresses. `service` is Dovecot's word, `port` the one that was dialled.
CREATE OR REPLACE FUNCTION login(login text, service text, port text)
  RETURNS TABLE (address text, password text, nologin text, reason text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = directory AS $$
  SELECT h.address, coalesce(h.password_hash, '{CRYPT}!'),
         CASE WHEN h.suspended OR h.phase = 'frozen' OR NOT may THEN 'y' END,
         CASE WHEN h.phase = 'frozen' THEN 'The mailbox is being moved. Try again in a minute.'
              WHEN h.suspended THEN 'The mailbox is suspended.'
              WHEN NOT may THEN 'The mailbox does not include this protocol.' END
    FROM address a JOIN homes h USING (backend_id),
         LATERAL (SELECT CASE service
           WHEN 'imap' THEN 'imap' = ANY (h.protocols)
             OR port = '@groupware_mail@' AND h.service_class = 'exchange' AND h.protocols && '{activesync,web}'
           WHEN 'pop3' THEN 'pop3' = ANY (h.protocols)
           WHEN 'submission' THEN 'smtp' = ANY (h.protocols)
           WHEN 'smtp' THEN 'smtp' = ANY (h.protocols)
           WHEN 'sieve' THEN h.protocols && '{imap,web}'
           ELSE false END AS may) AS gate
   WHERE a.address = login AND h.presence = 'present' AND h.phase <> 'arriving'
     -- Postfix does not look at nologin: whom it must not let in is unknown to it.
     AND (service <> 'smtp' OR may AND NOT h.suspended AND h.phase = 'home')
$$;

-- For everything else in Dovecot. Only doveadm sees what is deleted or only arriving.
CREATE OR REPLACE FUNCTION home(login text, service text)
  RETURNS TABLE (address text, backend_id text, quota_mib integer, archive boolean)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = directory AS $$
#variable_conflict use_column
DECLARE found homes;
BEGIN
  SELECT h.* INTO found FROM address a JOIN homes h USING (backend_id) WHERE a.address = login;
  -- An error is what makes Dovecot say "later" (451) instead of "unknown" (550). Postfix remembers for half a minute
  -- where a mailbox was that has just left.
  IF service = 'lmtp' AND (found.phase = 'frozen' OR coalesce(found.phase, 'arriving') = 'arriving'
      AND EXISTS (SELECT FROM guest_address g WHERE g.address = login)) THEN
    RAISE EXCEPTION 'the mailbox is being moved';
  END IF;
  IF found.backend_id IS NULL OR service <> 'doveadm' AND (found.presence <> 'present' OR found.phase = 'arriving') THEN
    RETURN;
  END IF;
  RETURN QUERY SELECT found.address, found.backend_id, found.quota_mib, found.archive;
END $$;

-- What Postfix asks, one answer each; no row is "no".
CREATE OR REPLACE FUNCTION mail_domain(name text) RETURNS SETOF text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = directory AS $$
  SELECT name FROM (SELECT address FROM address UNION ALL SELECT address FROM guest_address) a
   WHERE split_part(address, '@', 2) = lower(name) LIMIT 1
$$;
CREATE OR REPLACE FUNCTION mail_recipient(name text) RETURNS SETOF text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = directory AS $$
  SELECT a.address FROM address a JOIN box b USING (backend_id)
   WHERE a.address = lower(name) AND b.presence = 'present' AND b.phase <> 'arriving'
  UNION ALL
  SELECT address FROM guest_address WHERE address = lower(name) LIMIT 1
$$;
CREATE OR REPLACE FUNCTION mail_transport(name text) RETURNS SETOF text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = directory AS $$
  SELECT coalesce('smtp:[' || split_part(p.smtp, ':', 1) || ']:' || split_part(p.smtp, ':', 2),
                  'retry:4.4.1 it is not known where cell ' || g.cell || ' takes mail')
    FROM guest_address a JOIN guest g USING (backend_id) LEFT JOIN peer p USING (cell)
   WHERE a.address = lower(name)
     AND NOT EXISTS (SELECT FROM address l JOIN box b USING (backend_id) WHERE l.address = a.address
                        AND b.phase <> 'arriving')
$$;
-- Who may use an address as sender: its mailbox, and whom it has allowed to.
CREATE OR REPLACE FUNCTION mail_senders(name text) RETURNS SETOF text
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = directory AS $$
  SELECT h.address FROM address a JOIN homes h USING (backend_id) WHERE a.address = lower(name)
  UNION
  SELECT h.address FROM address a
    JOIN mailbox_grant g ON g.backend_id = a.backend_id AND g.role IN ('send_as', 'send_on_behalf')
    JOIN homes h ON h.backend_id = g.grantee
   WHERE a.address = lower(name)
$$;

CREATE OR REPLACE VIEW public.groupware_users AS
  SELECT h.backend_id AS c_uid, h.backend_id AS c_name, coalesce(h.password_hash, '{CRYPT}!') AS c_password,
         h.display_name AS c_cn, h.address AS mail,
         coalesce((SELECT string_agg(a.address, ' ' ORDER BY position) FROM address a
           WHERE a.backend_id = h.backend_id AND position > 0), '') AS aliases,
         split_part(h.address, '@', 2) AS domain,
         CASE h.kind WHEN 'room' THEN 'location' WHEN 'equipment' THEN 'thing' ELSE '' END AS kind,
         CASE WHEN h.service_class = 'exchange' AND NOT h.suspended AND h.phase = 'home'
               AND h.protocols && '{activesync,caldav,carddav,web}' THEN 'yes' ELSE 'no' END AS can_login
    FROM homes h WHERE h.presence = 'present' AND h.phase <> 'arriving'
  UNION ALL
  SELECT g.backend_id, g.backend_id, '{CRYPT}!', g.display_name, a.address, '', split_part(a.address, '@', 2), '', 'no'
    FROM guest g JOIN guest_address a ON a.backend_id = g.backend_id AND a.position = 0
   WHERE NOT EXISTS (SELECT FROM box b WHERE b.backend_id = g.backend_id AND b.phase <> 'arriving');
GRANT USAGE ON SCHEMA directory TO dovecot, postfix;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA directory FROM public;
GRANT EXECUTE ON FUNCTION login, home TO dovecot;
GRANT SELECT (address, backend_id) ON homes TO dovecot;
GRANT SELECT, INSERT, UPDATE, DELETE ON group_share, user_share, anyone_share TO dovecot;
GRANT EXECUTE ON FUNCTION mail_domain, mail_recipient, mail_transport, mail_senders TO postfix;
