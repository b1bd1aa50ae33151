import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface LockedPackage {
  readonly integrity?: string;
  readonly resolved?: string;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const lock: { packages: Readonly<Record<string, LockedPackage>> } = JSON.parse(
  readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8'),
);
const dependencies = Object.entries(lock.packages).filter(([path]) => path !== '');

test('every locked package is pinned by a hash and by no download host', () => {
  expect(dependencies.filter(([, locked]) => locked.integrity === undefined)).toEqual([]);
  expect(dependencies.filter(([, locked]) => locked.resolved !== undefined)).toEqual([]);
});

test('the binaries of every platform are locked, not only those of the machine that wrote the lock', () => {
  const paths = new Set(dependencies.map(([path]) => path));
  const missing = dependencies.flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !paths.has(`node_modules/${name}`) && !paths.has(`${path}/node_modules/${name}`),
    ),
  );
  expect(missing).toEqual([]);
});
