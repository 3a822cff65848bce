/** Without control characters, which could write over what a terminal shows. */
export const isPrintable = (text: string): boolean => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text);
