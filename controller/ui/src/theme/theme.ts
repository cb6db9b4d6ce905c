// Mantine dressed in LAMPAS's own tokens, so that its components and ours look alike.
import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core';

const teal: MantineColorsTuple = ['#e3f5f4', '#c9e8e6', '#9bd4d0', '#67bcb7', '#3aa39d', '#1c8d88', '#0f7c78', '#0d7472', '#0a5f5d', '#074847'];

// Mantine's own neutrals are warm; ours are slate. The sixth and seventh of `dark` are inputs and page.
const gray: MantineColorsTuple = ['#f4f6f8', '#eef1f4', '#e6ebef', '#dde3e9', '#c3ccd6', '#a3afbc', '#7d8a98', '#566474', '#364250', '#16202b'];
const dark: MantineColorsTuple = ['#e2e8ee', '#b7c2cd', '#96a4b3', '#6d7b8a', '#394756', '#25303b', '#0f151b', '#131a21', '#0d1217', '#0a0e12'];

export const theme = createTheme({
  fontFamily: 'var(--sans)',
  fontFamilyMonospace: 'var(--mono)',
  primaryColor: 'teal',
  primaryShade: { light: 7, dark: 6 },
  colors: { teal, gray, dark },
  defaultRadius: 6,
  cursorType: 'pointer',
  respectReducedMotion: true,
  fontSizes: { xs: '12px', sm: '13px', md: '14px', lg: '16px', xl: '20px' },
  spacing: { xs: '8px', sm: '12px', md: '16px', lg: '24px', xl: '32px' },
  headings: { fontWeight: '600', sizes: { h1: { fontSize: '20px', lineHeight: '28px' }, h2: { fontSize: '16px', lineHeight: '24px' }, h3: { fontSize: '14px', lineHeight: '20px' } } },
  components: {
    Button: { defaultProps: { size: 'sm' } },
    // What explains a field stands below it: fields side by side stay on one line, whether they need words or not.
    InputWrapper: { defaultProps: { inputWrapperOrder: ['label', 'input', 'description', 'error'] } },
    Tooltip: { defaultProps: { openDelay: 250, withArrow: false, multiline: true } },
    Modal: { defaultProps: { closeButtonProps: { 'aria-label': 'Close' }, transitionProps: { duration: 120 }, overlayProps: { backgroundOpacity: 0.45 } } },
    Drawer: { defaultProps: { transitionProps: { duration: 140 }, overlayProps: { backgroundOpacity: 0.45 } } },
    Menu: { defaultProps: { withInitialFocusPlaceholder: false, transitionProps: { duration: 100 }, shadow: 'md' } },
  },
});

/** Maps Mantine's variables onto our tokens; both schemes use the same names. */
export const resolver: CSSVariablesResolver = () => {
  const both = {
    '--mantine-color-body': 'var(--surface)',
    '--mantine-color-text': 'var(--text)',
    '--mantine-color-dimmed': 'var(--dim)',
    '--mantine-color-placeholder': 'var(--dim)',
    '--mantine-color-anchor': 'var(--accent)',
    '--mantine-color-default': 'var(--surface)',
    '--mantine-color-default-hover': 'var(--hover)',
    '--mantine-color-default-color': 'var(--text)',
    '--mantine-color-default-border': 'var(--border-strong)',
    '--mantine-color-error': 'var(--red)',
    '--mantine-color-teal-filled': 'var(--accent-fill)',
    '--mantine-color-teal-filled-hover': 'var(--accent-fill-hover)',
    '--mantine-color-teal-text': 'var(--accent)',
    '--mantine-shadow-md': 'var(--shadow)',
    '--mantine-shadow-xl': 'var(--shadow)',
  };
  return { variables: {}, light: both, dark: both };
};
