declare global {
  namespace App {
    interface Error {
      message: string;
      /** The stable name of the API's problem. */
      code: string;
      /** The status that the API answered; 0 where it could not be reached. */
      status: number;
    }
  }
}

export {};
