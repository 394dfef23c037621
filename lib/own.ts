/**
 * What an object has under a name that comes from somewhere else, as a label does: nothing of what every object inherits under names
 * such as `constructor`.
 */
export function own<Value>(record: Readonly<Record<string, Value>> | undefined, name: string): Value | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}
