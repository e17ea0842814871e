-- Leader clustering of a subscriber's sites after Hartigan: a site joins the first cluster whose centre is near enough,
-- or starts one. Feed it by falling weight.

CREATE TYPE public.hartigan_cluster_interm AS (
    clusters public.geography[],
    rank integer[],
    weights integer[],
    site_ids text[],
    versions text[],
    buffer double precision,
    call_threshold integer
);

-- FlowMachine expands the result into columns of these names and splits ids and versions at '::'.
CREATE TYPE public.hartigan_cluster AS (
    clusters public.geography[],
    rank integer[],
    weights integer[],
    site_ids text[],
    versions text[]
);

-- threshold in kilometres. A site without a point can't be placed and is passed over.
CREATE FUNCTION public._hartigan_add(
    state public.hartigan_cluster_interm,
    site_id text, version integer, weight integer,
    threshold double precision, buffer double precision, call_threshold integer
) RETURNS public.hartigan_cluster_interm
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = public, pg_temp
AS $$
DECLARE
    site geometry;
    centre geometry;
    total integer;
BEGIN
    IF state IS NULL THEN
        state := ('{}', '{}', '{}', '{}', '{}', buffer, call_threshold);
    END IF;
    SELECT s.geom_point INTO site FROM infrastructure.sites s
    WHERE s.id = _hartigan_add.site_id AND s.version = _hartigan_add.version;
    IF site IS NULL OR weight IS NULL THEN
        RETURN state;
    END IF;
    FOR i IN 1 .. cardinality(state.clusters) LOOP
        IF ST_Distance(state.clusters[i], site::geography) < threshold * 1000 THEN
            centre := state.clusters[i]::geometry;
            total := state.weights[i] + weight;
            IF total <> 0 THEN
                state.clusters[i] := ST_SetSRID(ST_Point(
                    (ST_X(centre) * state.weights[i] + ST_X(site) * weight) / total,
                    (ST_Y(centre) * state.weights[i] + ST_Y(site) * weight) / total
                ), 4326)::geography;
            END IF;
            state.weights[i] := total;
            state.site_ids[i] := state.site_ids[i] || '::' || _hartigan_add.site_id;
            state.versions[i] := state.versions[i] || '::' || _hartigan_add.version;
            RETURN state;
        END IF;
    END LOOP;
    state.clusters := array_append(state.clusters, site::geography);
    state.rank := array_append(state.rank, cardinality(state.rank) + 1);
    state.weights := array_append(state.weights, weight);
    state.site_ids := array_append(state.site_ids, _hartigan_add.site_id);
    state.versions := array_append(state.versions, _hartigan_add.version::text);
    RETURN state;
END
$$;

-- buffer in kilometres: 0 leaves the centres as points.
CREATE FUNCTION public._hartigan_finish(state public.hartigan_cluster_interm) RETURNS public.hartigan_cluster
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = public, pg_temp
AS $$
DECLARE
    result hartigan_cluster;
BEGIN
    SELECT array_agg(
               CASE
                   WHEN NOT coalesce(state.buffer > 0, false) THEN c.centre
                   WHEN c.ids LIKE '%::%' THEN ST_Buffer(c.centre, state.buffer * 1000)
                   ELSE coalesce(
                       (SELECT s.geom_polygon::geography FROM infrastructure.sites s
                        WHERE s.id = c.ids AND s.version = c.versions::integer),
                       ST_Buffer(c.centre, state.buffer * 1000))
               END ORDER BY c.rank),
           array_agg(c.rank ORDER BY c.rank),
           array_agg(c.weight ORDER BY c.rank),
           array_agg(c.ids ORDER BY c.rank),
           array_agg(c.versions ORDER BY c.rank)
    INTO result
    FROM unnest(state.clusters, state.rank, state.weights, state.site_ids, state.versions)
        AS c (centre, rank, weight, ids, versions)
    WHERE c.weight >= coalesce(state.call_threshold, 0);
    RETURN result;
END
$$;

CREATE AGGREGATE public.hartigan(
    site_id text, version integer, weight integer,
    threshold double precision, buffer double precision, call_threshold integer
) (
    SFUNC = public._hartigan_add,
    STYPE = public.hartigan_cluster_interm,
    FINALFUNC = public._hartigan_finish,
    PARALLEL = SAFE
);
