-- Squares of side grid_step metres over the bounding box of a geometry, laid from its lowest corner while that corner
-- is not beyond the box (so a row and a column more than fit), measured in metric_srid, given in the geometry's own.
CREATE FUNCTION public.makegrid_2d(bound_polygon public.geometry, grid_step numeric, metric_srid integer DEFAULT 3857)
RETURNS public.geometry
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = public, pg_temp
AS $$
DECLARE
    box constant geometry := ST_Envelope(ST_Transform(bound_polygon, metric_srid));
    side constant double precision := grid_step;
    x constant double precision := ST_XMin(box);
    y constant double precision := ST_YMin(box);
BEGIN
    IF side IS NULL OR side <= 0 THEN
        RAISE EXCEPTION 'grid_step is %; it must be a positive number of metres', grid_step;
    END IF;
    RETURN (
        SELECT ST_Transform(ST_Collect(ST_MakeEnvelope(
                   x + i * side, y + j * side, x + (i + 1) * side, y + (j + 1) * side, metric_srid
               ) ORDER BY j, i), ST_SRID(bound_polygon))
        FROM generate_series(0, floor((ST_XMax(box) - x) / side)::integer) i,
             generate_series(0, floor((ST_YMax(box) - y) / side)::integer) j
    );
END
$$;
