/**
 * Does something for each of many, so many at once: between them others have their turn.
 *
 * @param items taken from, the last ones first
 * @param later is to call back after a while
 * @param done called once, after the last of them
 */
export function someAtATime<T>(
  items: T[],
  atOnce: number,
  each: (item: T) => void,
  { later, done }: { later: (rest: () => void) => void; done: () => void },
): void {
  for (const item of items.splice(-atOnce)) each(item);
  if (items.length === 0) done();
  else later(() => someAtATime(items, atOnce, each, { later, done }));
}
