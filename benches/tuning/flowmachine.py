"""Every kind of query that FlowMachine's library offers on the demo data, as the SQL that it generates.

Reads JSON from stdin: the first day, how many days, and what `flowmachine.connect` needs. Writes JSON to stdout: a list of name
and SQL. What can't be made is told on stderr: a kind is left out by name, never in silence.
"""

import datetime
import importlib
import inspect
import json
import pkgutil
import sys

given = json.load(sys.stdin)
answer, sys.stdout = sys.stdout, sys.stderr

import flowmachine
from flowmachine import features
from flowmachine.core import make_spatial_unit
from flowmachine.core.query import Query

# Its classes by their names, wherever they are.
offered = {}
for module in pkgutil.walk_packages(features.__path__, features.__name__ + "."):
    for name, found in vars(importlib.import_module(module.name)).items():
        if inspect.isclass(found) and issubclass(found, Query) and found.__module__ == module.name:
            offered[name] = found
globals().update(offered)
from flowmachine.features import daily_location

flowmachine.connect(log_level="error", **given["connection"])
first = datetime.date.fromisoformat(given["first_day"])
days = [str(first + datetime.timedelta(days=n)) for n in range(given["days"] + 1)]
time = (days[0], days[-1])
admin3, admin2 = (make_spatial_unit("admin", level=level) for level in (3, 2))
cells, sites, points = (make_spatial_unit(unit) for unit in ("cell", "versioned-site", "lon-lat"))
# Two of the areas that FlowMachine's users give: where scores of the hour and of the day of the week lie.
labels = {
    "evening": {"type": "Polygon", "coordinates": [[[1e-06, -0.5], [1e-06, -1.1], [1.1, -1.1], [1.1, -0.5]]]},
    "day": {"type": "Polygon", "coordinates": [[[-1.1, -0.5], [-1.1, 0.5], [-1e-06, 0.5], [0, -0.5]]]},
}


def daily(method="last", unit=admin3):
    return [daily_location(day, spatial_unit=unit, method=method) for day in days[:-1]]


def home():
    return ModalLocation(*daily())


def visits():
    return LocationVisits(DayTrajectories(*daily()))


def seen(unit=admin3):
    return SubscriberLocations(*time, spatial_unit=unit)


def contacts():
    return ContactBalance(*time)


def handset_type():
    return SubscriberHandsetCharacteristic(*time, characteristic="hnd_type")


def call_days():
    return CallDays(SubscriberLocations(*time, spatial_unit=sites))


def unmoving_at_home():
    return UnmovingAtReferenceLocation(UniqueLocations(seen()), home())


def active_at_home():
    return ActiveAtReferenceLocationCounts(ActiveAtReferenceLocation(UniqueLocations(seen()), home()))


def distances():
    return DistanceSeries(subscriber_locations=SubscriberLocations(*time, spatial_unit=points))


def meaningful(label="evening"):
    scores = EventScore(start=time[0], stop=time[1], spatial_unit=sites)
    return MeaningfulLocations(clusters=HartiganCluster(calldays=call_days(), radius=1), scores=scores, labels=labels, label=label)


KINDS = {
    # Of a subscriber.
    "active subscribers": lambda: ActiveSubscribers(first, 1, 24, given["days"], 1, 3),
    "calendar activity": lambda: CalendarActivity(days[0], given["days"]),
    "call days": call_days,
    "call durations": lambda: SubscriberCallDurations(*time),
    "call durations by contact": lambda: PairedSubscriberCallDurations(*time),
    "call durations by place": lambda: PerLocationSubscriberCallDurations(*time, spatial_unit=admin3),
    "call durations by contact and places": lambda: PairedPerLocationSubscriberCallDurations(*time, spatial_unit=admin3),
    "coalesced location": lambda: CoalescedLocation(
        preferred_locations=FilteredReferenceLocation(home(), visits(), 3), fallback_locations=home()
    ),
    "contact balance": contacts,
    "contact entropy": lambda: ContactEntropy(*time),
    "contact places": lambda: ContactReferenceLocationStats(
        contacts(), daily_location(days[0], spatial_unit=points)
    ),
    "contact reciprocity": lambda: ProportionContactReciprocal(ContactReciprocal(*time)),
    "daily location": lambda: daily_location(days[0], spatial_unit=admin3),
    "day trajectories": lambda: DayTrajectories(*daily()),
    "degree": lambda: SubscriberDegree(*time),
    "displacement": lambda: Displacement(*time, reference_location=daily_location(days[0], spatial_unit=points)),
    "distance of counterparts": lambda: DistanceCounterparts(*time),
    "distance series": distances,
    "event count": lambda: EventCount(*time),
    "event reciprocity": lambda: ProportionEventReciprocal(*time, ContactReciprocal(*time)),
    "event score": lambda: EventScore(start=time[0], stop=time[1], spatial_unit=sites),
    "event type proportion": lambda: ProportionEventType(*time, "events.sms"),
    "events by contact": lambda: PerContactEventStats(contacts()),
    "events by place": lambda: PerLocationEventStats(*time, spatial_unit=admin3),
    "first location": lambda: FirstLocation(*time, location=["any"], spatial_unit=admin3),
    "handset characteristic": handset_type,
    "handset": lambda: SubscriberHandset(*time),
    "handset statistics": lambda: HandsetStats("width", subscriber_handsets=SubscriberHandsets(*time)),
    "imputed distance series": lambda: ImputedDistanceSeries(distance_series=distances()),
    "interval between events": lambda: IntereventInterval(*time),
    "last location": lambda: LastLocation(*time, spatial_unit=admin3),
    "location clusters": lambda: HartiganCluster(calldays=call_days(), radius=1),
    "location entropy": lambda: LocationEntropy(*time, spatial_unit=admin3),
    "location visits": visits,
    "majority location": lambda: MajorityLocation(subscriber_location_weights=visits(), weight_column="value"),
    "meaningful locations": meaningful,
    "mobile data volume": lambda: MDSVolume(*time),
    "mobility class": lambda: MobilityClassification(locations=daily(), stay_length_threshold=3),
    "median of distances": lambda: IterativeMedianFilter(query_to_filter=distances(), filter_window_size=3),
    "modal location": home,
    "most frequent location": lambda: MostFrequentLocation(*time, spatial_unit=admin3),
    "new subscribers": lambda: NewSubscribers(
        unique_subscribers_bench_mark=UniqueSubscribers(days[0], days[len(days) // 2]),
        unique_subscribers_focal=UniqueSubscribers(days[len(days) // 2], days[-1]),
    ),
    "nocturnal events": lambda: NocturnalEvents(*time),
    "pareto interactions": lambda: ParetoInteractions(*time),
    "period between events": lambda: IntereventPeriod(*time),
    "periodic entropy": lambda: PeriodicEntropy(*time),
    "radius of gyration": lambda: RadiusOfGyration(*time),
    "stay lengths": lambda: SubscriberStayLengths(locations=daily()),
    "total active periods": lambda: TotalActivePeriodsSubscriber(days[0], given["days"]),
    "unique location counts": lambda: UniqueLocationCounts(*time, spatial_unit=cells),
    "unique locations": lambda: UniqueLocations(seen()),
    "visited most days": lambda: VisitedMostDays(subscriber_locations=seen()),
    # Of a place.
    "active at reference location": active_at_home,
    "consecutive trips": lambda: ConsecutiveTripsODMatrix(seen()),
    "flows": lambda: Flows(daily_location(days[0], spatial_unit=admin3), home()),
    "inflows": lambda: InOutFlow(Flows(daily_location(days[0], spatial_unit=admin2), daily_location(days[1], spatial_unit=admin2)), "to"),
    "joined spatial aggregate": lambda: JoinedSpatialAggregate(metric=RadiusOfGyration(*time), locations=home()),
    "labelled flows": lambda: LabelledFlows(loc1=home(), loc2=daily_location(days[0], spatial_unit=admin3), labels=handset_type()),
    "labelled spatial aggregate": lambda: LabelledSpatialAggregate(locations=home(), labels=handset_type()),
    "location event counts": lambda: TotalLocationEvents(*time, spatial_unit=admin3, interval="hour"),
    "location introversion": lambda: LocationIntroversion(*time, spatial_unit=admin3),
    "meaningful locations by area": lambda: MeaningfulLocationsAggregate(meaningful_locations=meaningful(), spatial_unit=admin3),
    "meaningful locations between areas": lambda: MeaningfulLocationsOD(
        meaningful_locations_a=meaningful("day"), meaningful_locations_b=meaningful(), spatial_unit=admin3
    ),
    "spatial aggregate": lambda: SpatialAggregate(locations=home()),
    "trips": lambda: TripsODMatrix(seen()),
    "unique subscriber counts": lambda: UniqueSubscriberCounts(*time, spatial_unit=admin3),
    "unique visitor counts": lambda: UniqueVisitorCounts(active_at_home(), UniqueSubscriberCounts(*time, spatial_unit=admin3)),
    "unmoving at reference location": lambda: UnmovingAtReferenceLocationCounts(unmoving_at_home()),
    "unmoving": lambda: UnmovingCounts(Unmoving(UniqueLocations(seen()))),
    # Of neither.
    "geography": lambda: Geography(admin3),
    "mobile money": lambda: DFSTotalMetricAmount(metric="amount", start_date=days[0], end_date=days[-1], aggregation_unit="admin2"),
    "histogram": lambda: HistogramAggregation(metric=EventCount(*time), bins=20),
    "network objects": lambda: AggregateNetworkObjects(
        total_network_objects=TotalNetworkObjects(*time, spatial_unit=admin3), statistic="avg", aggregate_by="day"
    ),
    "subscribers by value": lambda: PerValueAggregate(handset_type()),
}

made, used = [], set()


def note(query):
    used.add(type(query).__name__)
    for part in query.dependencies:
        note(part)


for name, make in KINDS.items():
    try:
        query = make()
        made.append({"name": name, "sql": query.get_query()})
        note(query)
    except Exception as error:
        print(f"{name}: left out: {type(error).__name__}: {error}", file=sys.stderr)
print("in none of these:", ", ".join(sorted(set(offered) - used)), file=sys.stderr)
json.dump(made, answer)
