/**
 * Reading chevrotain's concrete tree without casts at every use.
 * The tree is free of syntax errors here, so a child that the grammar requires is there.
 */
import type { CstElement, CstNode, IToken } from 'chevrotain';
import type { Span } from '../../ir/diagnostics.js';

export function isToken(element: CstElement): element is IToken {
  return 'image' in element;
}

export function elementStart(element: CstElement): number {
  return isToken(element) ? element.startOffset : (element.location?.startOffset ?? 0);
}

export function elementEnd(element: CstElement): number {
  const last = isToken(element) ? element.endOffset : element.location?.endOffset;
  return (last ?? elementStart(element) - 1) + 1;
}

/** All children, in the order of the text. */
export function childrenInOrder(node: CstNode): CstElement[] {
  return Object.values(node.children)
    .flat()
    .sort((a, b) => elementStart(a) - elementStart(b));
}

export function nodesOf(node: CstNode, name: string): CstNode[] {
  return (node.children[name] ?? []).filter((child): child is CstNode => !isToken(child));
}

export function tokensOf(node: CstNode, name: string): IToken[] {
  return (node.children[name] ?? []).filter(isToken);
}

export function nodeOf(node: CstNode, name: string): CstNode | undefined {
  return nodesOf(node, name)[0];
}

export function tokenOf(node: CstNode, name: string): IToken | undefined {
  return tokensOf(node, name)[0];
}

export function requiredNode(node: CstNode, name: string): CstNode {
  const found = nodeOf(node, name);
  if (found === undefined) throw new Error(`the grammar promises '${name}' in '${node.name}'`);
  return found;
}

export function requiredToken(node: CstNode, name: string): IToken {
  const found = tokenOf(node, name);
  if (found === undefined) throw new Error(`the grammar promises '${name}' in '${node.name}'`);
  return found;
}

export function spanOf(element: CstElement, file: string): Span {
  return { file, start: elementStart(element), end: elementEnd(element) };
}

export function join(first: Span, last: Span): Span {
  return { file: first.file, start: first.start, end: Math.max(first.end, last.end) };
}
