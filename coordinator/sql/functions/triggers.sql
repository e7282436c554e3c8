-- functions/triggers.sql - what is done with every change of a table
--
-- A trigger is made again under a lock of its table: so triggers are by themselves, apart from the functions that they call.

CREATE OR REPLACE TRIGGER node_key_changed AFTER INSERT OR UPDATE OR DELETE ON node_key
    FOR EACH STATEMENT EXECUTE FUNCTION cluster_changed();
CREATE OR REPLACE TRIGGER node_changed AFTER INSERT OR DELETE ON node FOR EACH ROW EXECUTE FUNCTION cluster_changed();
CREATE OR REPLACE TRIGGER node_updated AFTER UPDATE ON node FOR EACH ROW
    WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION cluster_changed();
CREATE OR REPLACE TRIGGER outbound_stop_changed AFTER INSERT OR UPDATE OR DELETE ON outbound_stop FOR EACH ROW EXECUTE FUNCTION cluster_changed();
CREATE OR REPLACE TRIGGER outbound_pool_changed AFTER INSERT OR UPDATE OR DELETE ON outbound_pool FOR EACH ROW EXECUTE FUNCTION cluster_changed();
CREATE OR REPLACE TRIGGER policy_changed AFTER INSERT ON policy FOR EACH STATEMENT EXECUTE FUNCTION cluster_changed();
CREATE OR REPLACE TRIGGER personal_list_blocked AFTER INSERT OR UPDATE ON personal_list FOR EACH ROW WHEN (NEW.kind = 'block') EXECUTE FUNCTION personal_blocked();

CREATE OR REPLACE TRIGGER policy_digest_added AFTER INSERT ON policy_file REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION policy_digest_set();
CREATE OR REPLACE TRIGGER policy_digest_changed AFTER UPDATE ON policy_file REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION policy_digest_set();
