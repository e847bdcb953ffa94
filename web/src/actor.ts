// An actor is a subject and the id of the token it used: ops@anna/3dca72ed-4a11-….
const tokenID = /\/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g;

/** withoutToken leaves the ids of tokens out of a text: people read who, programs read which token. */
export const withoutToken = (text: string) => text.replace(tokenID, "");
