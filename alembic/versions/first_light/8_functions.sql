-- Functions are closed to everybody; the roles' files open those that each needs. Triggers need no grant, but
-- what a trigger calls does.

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA auth, execution FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION public.refuse_change() FROM PUBLIC;
