-- SOGo's tables, made by us: nobody then needs to log in to SOGo as an administrator, and what customers reach can
-- neither change a table nor write down a right. The shapes are those of SOGo 5.8 in its mode of few tables
-- (OCSStoreURL, OCSAclURL, OCSCacheFolderURL).
SET search_path = public;
CREATE TABLE IF NOT EXISTS sogo_user_profile (c_uid varchar(255) PRIMARY KEY, c_defaults text, c_settings text);
CREATE TABLE IF NOT EXISTS sogo_sessions_folder (
  c_id varchar(255) PRIMARY KEY, c_value varchar(4096) NOT NULL, c_creationdate integer NOT NULL,
  c_lastseen integer NOT NULL
);
CREATE TABLE IF NOT EXISTS sogo_folder_info (
  c_folder_id serial, c_path varchar(255) PRIMARY KEY, c_path1 varchar(255) NOT NULL, c_path2 varchar(255),
  c_path3 varchar(255), c_path4 varchar(255), c_foldername varchar(255) NOT NULL, c_location varchar(2048),
  c_quick_location varchar(2048), c_acl_location varchar(2048), c_folder_type varchar(255) NOT NULL
);
CREATE INDEX IF NOT EXISTS sogo_folder_info_owner ON sogo_folder_info (c_path2);
CREATE TABLE IF NOT EXISTS sogo_store (
  c_folder_id integer NOT NULL, c_name varchar(255) NOT NULL, c_content text NOT NULL, c_creationdate integer NOT NULL,
  c_lastmodified integer NOT NULL, c_version integer NOT NULL, c_deleted integer, PRIMARY KEY (c_folder_id, c_name)
);
CREATE TABLE IF NOT EXISTS sogo_acl (
  c_folder_id integer NOT NULL, c_object varchar(255) NOT NULL, c_uid varchar(255) NOT NULL, c_role varchar(80) NOT NULL
);
CREATE INDEX IF NOT EXISTS sogo_acl_c_folder_id_idx ON sogo_acl (c_folder_id);
CREATE INDEX IF NOT EXISTS sogo_acl_c_uid_idx ON sogo_acl (c_uid);
CREATE TABLE IF NOT EXISTS sogo_cache_folder (
  c_uid varchar(255) NOT NULL, c_path varchar(255) NOT NULL, c_parent_path varchar(255), c_type smallint NOT NULL,
  c_creationdate integer NOT NULL, c_lastmodified integer NOT NULL, c_version integer NOT NULL DEFAULT 0,
  c_deleted smallint NOT NULL DEFAULT 0, c_content text, PRIMARY KEY (c_uid, c_path)
);
CREATE TABLE IF NOT EXISTS sogo_quick_appointment (
  c_folder_id integer NOT NULL, c_name varchar(255) NOT NULL, c_uid varchar(255) NOT NULL, c_startdate integer,
  c_enddate integer, c_cycleenddate integer, c_title varchar(1000) NOT NULL, c_participants text, c_isallday integer,
  c_iscycle integer, c_cycleinfo text, c_classification integer NOT NULL, c_isopaque integer NOT NULL,
  c_status integer NOT NULL, c_priority integer, c_location varchar(255), c_orgmail varchar(255), c_partmails text,
  c_partstates text, c_category varchar(255), c_sequence integer, c_component varchar(10) NOT NULL,
  c_nextalarm integer, c_description text, PRIMARY KEY (c_folder_id, c_name)
);
CREATE TABLE IF NOT EXISTS sogo_quick_contact (
  c_folder_id integer NOT NULL, c_name varchar(255) NOT NULL, c_givenname varchar(255), c_cn varchar(255),
  c_sn varchar(255), c_screenname varchar(255), c_l varchar(255), c_mail text, c_o varchar(255), c_ou varchar(255),
  c_telephonenumber varchar(255), c_categories varchar(255), c_component varchar(10) NOT NULL,
  c_hascertificate integer, PRIMARY KEY (c_folder_id, c_name)
);
-- Rights are the control plane's to give. SOGo 5.8 lets anyone who may read a folder grant himself more. The gateway
-- refuses such requests; who gets past it, being on this machine, finds that nothing is written down, and what SOGo
-- believes of it meanwhile it forgets within a minute (SOGoCacheCleanupInterval).
CREATE OR REPLACE FUNCTION directory.refuse_right() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- Left out in silence: an error would leave SOGo's connection unusable for whoever comes next.
  IF current_user = 'groupware' THEN RETURN NULL; END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER refuse_right BEFORE INSERT OR UPDATE OR DELETE ON sogo_acl
  FOR EACH ROW EXECUTE FUNCTION directory.refuse_right();
GRANT EXECUTE ON FUNCTION directory.refuse_right TO groupware;
GRANT USAGE ON SCHEMA directory TO groupware;
GRANT SELECT ON groupware_users TO groupware;
GRANT SELECT, INSERT, UPDATE, DELETE ON sogo_user_profile, sogo_sessions_folder, sogo_folder_info, sogo_store, sogo_acl,
  sogo_cache_folder, sogo_quick_appointment, sogo_quick_contact TO groupware;
GRANT USAGE ON SEQUENCE sogo_folder_info_c_folder_id_seq TO groupware;
