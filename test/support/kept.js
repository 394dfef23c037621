/** Gives `keep(resource)`: what a test of this suite keeps is disposed of after it. */
export function keeper(test) {
  const opened = [];
  test.after.each(async () => {
    for (const resource of opened.splice(0)) await resource.dispose();
  });
  return (resource) => {
    opened.push(resource);
    return resource;
  };
}
