/** Tests of the dashboard: pure parts alone, and journeys in a real Chromium against the real binary. */
import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: 'tests',
  fullyParallel: true,
  forbidOnly: process.env.CI !== undefined,
  workers: 2,
  // Longer than anything takes on a loaded machine; reaching one means that something hangs.
  timeout: 120_000,
  expect: { timeout: 20_000 },
  reporter: [['list']],
  projects: [
    { name: 'unit', testDir: 'tests/unit' },
    {
      name: 'journeys',
      testDir: 'tests/journeys',
      use: {
        viewport: { width: 1440, height: 900 },
        actionTimeout: 20_000,
        locale: 'en-GB',
        timezoneId: 'UTC',
        launchOptions: {
          executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
          args: [
            '--disable-gpu',
            '--disable-quic',
            '--no-first-run',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
          ],
        },
      },
    },
  ],
});
