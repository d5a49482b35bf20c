/** Made by `sdk-metadata.ts`. */
declare module 'virtual:sdk' {
  const sdk: import('$lib/editor/sdk').Sdk;
  export default sdk;
}
