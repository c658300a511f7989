// Conditions under which a device may ask, for `when` of `Asking.run`; an app outside browsers has its system's own.

interface Battery {
  readonly charging: boolean;
}

/** Whether there is a network, as far as the browser knows; true where nobody tells. */
export function onNetwork(): boolean {
  return globalThis.navigator?.onLine !== false;
}

/** Whether a charger is connected: Chromium tells. Where nobody does, as in Firefox, Safari and Node, false. */
export async function onCharger(): Promise<boolean> {
  const { navigator } = globalThis as { navigator?: { getBattery?: () => Promise<Battery> } };
  try {
    return (await navigator?.getBattery?.())?.charging ?? false;
  } catch {
    return false; // a page that must not know
  }
}
