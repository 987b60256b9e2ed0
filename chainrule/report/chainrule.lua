-- Numbers for figures, tables, equations and sections, references to them by @fig:x, @tbl:x, @eq:x, @sec:x,
-- and the repair of what pandoc 3.9 writes and typst 0.15 no longer reads. It runs before --citeproc, for typst and HTML.
-- Whatever cannot be resolved is an error: a report with a gap is not built.

local NAMES = { fig = "Figure", tbl = "Table", eq = "Equation", sec = "Section" }
local FRAMES = { statement = true, formula = true, floating = true } -- Divs that are functions of the typst template
local LONGEST_HEADER = 90 -- characters of the title that fit over a page
local TYPST = FORMAT == "typst"

local numbers = {} -- label → its number as text
local counts = { fig = 0, tbl = 0, eq = 0 }
local levels = {} -- number of the current section at each level

local function kind_of(label)
  local kind = label:match("^(%a+):")
  return NAMES[kind] and kind
end

local function define(label, number)
  if numbers[label] then error("the label " .. label .. " is used twice") end
  numbers[label] = number
end

-- maths ------------------------------------------------------------------------------------------------------------

local function typst_maths(maths)
  local text = pandoc.write(pandoc.Pandoc({ pandoc.Plain({ maths }) }), "typst"):gsub("%s+$", "")
  if text:sub(1, 1) ~= "$" then error("this formula is not understood: " .. maths.text) end
  local bar = maths.text:find("\\begin{Vmatrix}", 1, true) and "‖" or "|"
  text = text:gsub("%.circle", ".o") -- dot.circle (\odot) is now dot.o, and so are its sisters
  text = text:gsub("%f[%a]sect%f[%A]", "inter") -- \cap
  return (text:gsub('delim: "||"', 'delim: "' .. bar .. '"')) -- vmatrix: one character only
end

-- $$ … $$ {#eq:x}, alone in its paragraph
local function equation(paragraph)
  local first, label = paragraph.content[1], nil
  if not first or first.t ~= "Math" or first.mathtype ~= "DisplayMath" then return nil end
  for _, part in ipairs(paragraph.content) do
    label = label or (part.t == "Str" and part.text:match("^{#(eq:[%w-]+)}$"))
  end
  if not label then return nil end
  counts.eq = counts.eq + 1
  define(label, tostring(counts.eq))
  if TYPST then
    local set = '#[#set math.equation(numbering: "(1)")\n'
    return pandoc.RawBlock("typst", set .. typst_maths(first) .. " <" .. label .. ">]")
  end
  local number = pandoc.Span({ pandoc.Str("(" .. counts.eq .. ")") }, { class = "eqno" })
  return pandoc.Div({ pandoc.Para({ first, pandoc.Space(), number }) }, { id = label, class = "eq" })
end

-- figures, tables, sections ----------------------------------------------------------------------------------------

local function numbered(block)
  local kind = kind_of(block.identifier)
  if not counts[kind] then error("a figure or table has no label: " .. pandoc.utils.stringify(block.caption.long)) end
  counts[kind] = counts[kind] + 1
  define(block.identifier, tostring(counts[kind]))
  if not TYPST and block.caption.long[1] then -- typst counts for itself, and comes to the same numbers
    local name = pandoc.Strong({ pandoc.Str(NAMES[kind] .. " " .. counts[kind] .. ".") })
    block.caption.long[1].content:insert(1, pandoc.Space())
    block.caption.long[1].content:insert(1, name)
  end
  return block
end

-- widths="30,70" in a table's attributes: per cent of the text
local function with_widths(tbl)
  local widths = tbl.attributes.widths
  if widths then
    local column = 0
    for width in widths:gmatch("%d+") do
      column = column + 1
      tbl.colspecs[column] = { tbl.colspecs[column][1], tonumber(width) / 100 }
    end
    tbl.attributes.widths = nil
  end
  if tbl.classes:includes("small") then tbl.attributes["typst:text:size"] = "8.5pt" end
  return tbl
end

local function tabular(tbl)
  tbl = numbered(with_widths(tbl))
  if TYPST then return tbl end
  return pandoc.Div({ tbl }, { class = "scroll" }), false
end

local function section(header)
  if header.classes:includes("unnumbered") then return nil end
  levels[header.level] = (levels[header.level] or 0) + 1
  for level = header.level + 1, 6 do levels[level] = nil end
  local parts = {}
  for level = 1, header.level do parts[level] = tostring(levels[level] or 0) end
  define(header.identifier, table.concat(parts, "."))
end

local function frame(div)
  for _, class in ipairs(div.classes) do
    if TYPST and FRAMES[class] then
      local blocks = pandoc.Blocks({ pandoc.RawBlock("typst", "#" .. class .. "[") })
      blocks:extend(div.content)
      blocks:insert(pandoc.RawBlock("typst", "]"))
      return blocks
    end
  end
end

-- references -------------------------------------------------------------------------------------------------------

local function reference(cite)
  local label = cite.citations[1].id
  local kind = kind_of(label)
  if not kind then return nil end
  local number = numbers[label]
  if not number then error("reference to the unknown label " .. label) end
  if TYPST then return pandoc.RawInline("typst", "#ref(<" .. label .. ">)") end
  return pandoc.Link(NAMES[kind] .. " " .. (kind == "eq" and "(" .. number .. ")" or number), "#" .. label)
end

local function inside(link) -- [words](#label), which pandoc itself does not check
  local label = link.target:match("^#(%a+:.*)$")
  if label and kind_of(label) and not numbers[label] then error("link to the unknown label " .. label) end
end

-- typst's own signs ------------------------------------------------------------------------------------------------

-- What begins a cell or a line like a list, a heading or a term is text; pandoc escapes that in paragraphs only.
local function guarded(inlines)
  local first, second = inlines[1], inlines[2]
  if not (TYPST and first and first.t == "Str" and second and second.t == "Space") then return nil end
  if not (first.text:find("^[-+/]$") or first.text:find("^=+$") or first.text:find("^%d+%.$")) then return nil end
  inlines:insert(1, pandoc.RawInline("typst", "#[]"))
  return inlines
end

-- Three dots are three dots.
local function dots(str)
  local before, after = str.text:match("^(.-)%.%.%.(.*)$")
  if not (TYPST and before) then return nil end
  return { pandoc.Str(before), pandoc.RawInline("typst", "\\.\\.\\."), pandoc.Str(after) }
end

-- document ---------------------------------------------------------------------------------------------------------

-- ::: abstract moves to the title block; title and authors are needed in other forms too, for the head of each page and
-- for the PDF's own metadata.
local function front(document)
  local blocks, meta = document.blocks, document.meta
  if blocks[1] and blocks[1].t == "Div" and blocks[1].classes:includes("abstract") then
    meta.abstract = pandoc.MetaBlocks(blocks[1].content)
    blocks:remove(1)
  end
  local names = {}
  for i, author in ipairs(meta.author or {}) do
    names[i] = '"' .. pandoc.utils.stringify(author):gsub('[\\"]', "\\%0") .. '"'
  end
  meta.pdfauthors = pandoc.MetaInlines({ pandoc.RawInline("typst", "(" .. table.concat(names, ", ") .. (#names == 1 and ",)" or ")")) })
  local title = pandoc.utils.stringify(meta.title)
  local cut = utf8.offset(title, LONGEST_HEADER)
  meta.runningtitle = pandoc.MetaInlines({ pandoc.Str(cut and title:sub(1, cut - 1) .. "…" or title) })
  return document
end

return {
  { Pandoc = front },
  { traverse = "topdown", Header = section, Figure = numbered, Table = tabular, Para = equation },
  { Cite = reference, Link = inside },
  { Inlines = guarded, Str = dots },
  { Div = frame, Math = function(maths) if TYPST then return pandoc.RawInline("typst", typst_maths(maths)) end end },
}
