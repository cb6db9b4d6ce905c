// The way around: places of the fleet, then what manages it.
import { Link } from '@tanstack/react-router';
import { useQuery } from '@tanstack/react-query';
import { driftCountQuery } from '@/api/queries';
import { approvalsQuery } from '@/features/approval/queries';
import { mayOn, useSession } from '@/api/session';
import { places, type Place } from '@/keys/places';
import { Icon } from '@/ui/Icon';
import { Mark } from '@/ui/Mark';
import { setPrefs, usePrefs } from '@/ui/prefs';

export function Rail({ inDrawer = false, onGo }: { inDrawer?: boolean; onGo?: () => void }) {
  const session = useSession();
  const { isRailFolded } = usePrefs();
  const folded = isRailFolded && !inDrawer;
  const mine = places.filter((place) => place.isInRail && mayOn(session, place.permission, place.over));
  const drifts = useQuery(driftCountQuery).data;
  const approvals = useQuery(approvalsQuery).data?.filter((row) => row.may_approve).length;
  const badge = (place: Place): number | undefined => (place.to === '/drift' ? drifts : place.to === '/approvals' ? approvals : undefined);
  const group = (name: Place['group']) => (
    <ul>
      {mine
        .filter((place) => place.group === name)
        .map((place) => (
          <li key={place.to}>
            <Link to={place.to} activeOptions={{ exact: place.to === '/', includeSearch: false }} onClick={onGo} title={folded ? place.title : undefined} aria-label={folded ? place.title : undefined}>
              <Icon name={place.icon} size={17} />
              <span className="rail-text">{place.title}</span>
              {(badge(place) ?? 0) > 0 && <span className="rail-count num" aria-label={place.to === '/approvals' ? `${badge(place) ?? 0} for you` : `${badge(place) ?? 0} to decide`}>{badge(place)}</span>}
            </Link>
          </li>
        ))}
    </ul>
  );
  return (
    <nav className={inDrawer ? 'rail rail-drawer' : 'rail'} aria-label="Main">
      <Link to="/" className="brand" aria-label="LAMPAS, overview" onClick={onGo}>
        <Mark />
        <span className="rail-text">LAMPAS</span>
      </Link>
      {group('fleet')}
      <div className="rail-head"><span className="rail-text">Manage</span></div>
      {group('manage')}
      <div className="grow" />
      {!inDrawer && (
        <button type="button" className="rail-fold" onClick={() => { setPrefs({ isRailFolded: !isRailFolded }); }} aria-pressed={isRailFolded} aria-label={folded ? 'Unfold the menu' : 'Fold the menu'}>
          <Icon name="fold" size={17} />
          <span className="rail-text">Fold</span>
        </button>
      )}
      <div className="rail-foot rail-text dim">{session.fleet_name === '' ? 'LAMPAS' : session.fleet_name} · {session.version}</div>
    </nav>
  );
}
