/** The theme: the system's, or one that was chosen, which `app.html` sets again before the next first paint. */

export const THEMES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const KEY = 'theme';

function chosen(): Theme {
  const { theme } = document.documentElement.dataset;
  return theme === 'light' || theme === 'dark' ? theme : 'system';
}

class ThemeChoice {
  current = $state<Theme>(chosen());

  choose(theme: Theme): void {
    this.current = theme;
    const { dataset } = document.documentElement;
    if (theme === 'system') {
      delete dataset.theme;
      localStorage.removeItem(KEY);
    } else {
      dataset.theme = theme;
      localStorage.setItem(KEY, theme);
    }
  }
}

export const theme = new ThemeChoice();
