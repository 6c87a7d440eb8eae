"""Subjects to ask quiz questions about, in families of one kind; `tasks` deals them into two disjoint sets."""

FAMILIES: dict[str, str] = {
    "mammals": """
        whales, elephants, wolves, bats, kangaroos, horses, camels, giraffes, bears, otters, foxes, beavers, lions,
        gorillas, dolphins, hedgehogs, squirrels, rabbits, sheep, goats, pigs, zebras, rhinos, hippos, tigers,
        cheetahs, leopards, koalas, sloths, moles, badgers, seals, walruses, reindeer, donkeys, mice, hyenas,
        armadillos, pandas, chimpanzees, orangutans, porcupines, raccoons, skunks, antelopes, llamas, yaks, weasels
    """,
    "birds": """
        penguins, owls, eagles, pigeons, ostriches, parrots, swans, flamingos, hummingbirds, crows, storks,
        peacocks, woodpeckers, ducks, geese, turkeys, gulls, sparrows, robins, swallows, vultures, falcons,
        pelicans, cranes, canaries, cuckoos, magpies, toucans, albatrosses, nightingales
    """,
    "other animals": """
        honey bees, ants, butterflies, spiders, beetles, mosquitoes, dragonflies, ladybirds, crickets, termites,
        wasps, fireflies, snails, earthworms, jellyfish, octopuses, squids, crabs, lobsters, shrimps, oysters,
        starfish, corals, sharks, salmon, tuna, eels, goldfish, seahorses, rays, trout, carp, piranhas, frogs,
        toads, newts, salamanders, turtles, tortoises, crocodiles, lizards, chameleons, geckos, snakes, cobras,
        dinosaurs, mammoths, scorpions, centipedes, sponges, moths, fleas
    """,
    "plants": """
        trees, roses, tulips, sunflowers, oaks, palms, pines, cacti, mosses, ferns, mushrooms, bamboo, lavender,
        orchids, daisies, lilies, ivy, seaweed, willows, maples, birches, poppies, dandelions, clover, thistles,
        nettles, redwoods, baobabs, water lilies, violets
    """,
    "fruit and vegetables": """
        apples, bananas, oranges, lemons, grapes, strawberries, cherries, pears, peaches, plums, pineapples,
        mangoes, coconuts, melons, figs, dates, olives, avocados, blueberries, raspberries, kiwis, pomegranates,
        tomatoes, potatoes, carrots, onions, garlic, cabbages, lettuce, spinach, cucumbers, pumpkins, peppers,
        beans, peas, beetroots, radishes, celery, asparagus, broccoli, leeks, artichokes, aubergines, turnips
    """,
    "food and drink": """
        bread, cheese, butter, milk, eggs, rice, pasta, pizza, soup, salad, honey, sugar, salt, pepper, cinnamon,
        vanilla, ginger, saffron, mustard, vinegar, chocolate, ice cream, pancakes, sausages, noodles, sushi, curry,
        coffee, tea, lemonade, water, wine, beer, cocoa, yoghurt, nuts, almonds, peanuts, wheat, corn, oats, barley,
        rye, flour, yeast, jam, cakes, biscuits, popcorn, sandwiches, dumplings, tofu, olive oil, maple syrup,
        breakfast, picnics
    """,
    "the earth": """
        volcanoes, earthquakes, rivers, lakes, oceans, deserts, mountains, glaciers, islands, caves, valleys,
        waterfalls, swamps, beaches, tides, waves, icebergs, fossils, sand, clay, rocks, crystals, soil, forests,
        rainforests, grasslands, geysers, canyons, fjords, lagoons, peninsulas, springs, continents, the North Pole,
        the South Pole, the equator, the Sahara, the Amazon, the Nile, the Alps, the Himalayas, the Pacific Ocean,
        the Great Barrier Reef, Mount Everest, the Grand Canyon
    """,
    "weather and sky": """
        rain, snow, clouds, wind, thunderstorms, lightning, tornadoes, hurricanes, fog, frost, hail, rainbows, the
        seasons, winter, summer, spring, autumn, droughts, floods, the moon, the sun, stars, planets, comets,
        meteors, galaxies, black holes, eclipses, Mars, Venus, Jupiter, Saturn, Mercury, Neptune, Uranus, Pluto,
        asteroids, satellites, constellations, the northern lights, the atmosphere, gravity
    """,
    "materials": """
        glass, paper, gold, silver, iron, copper, steel, aluminium, lead, tin, zinc, diamonds, rubies, emeralds,
        pearls, amber, marble, granite, concrete, bricks, wood, cork, rubber, plastic, leather, wool, cotton, silk,
        linen, nylon, coal, petroleum, natural gas, wax, soap, ink, paint, glue, porcelain, ivory, mercury lamps,
        bronze, charcoal, limestone
    """,
    "science": """
        electricity, magnets, light, sound, heat, energy, atoms, molecules, oxygen, hydrogen, carbon, nitrogen,
        helium, acids, colours, shadows, mirrors, lenses, friction, pressure, temperature, speed, time, bacteria,
        viruses, cells, genes, evolution, photosynthesis, vitamins, proteins, enzymes, vaccines, antibiotics, radio
        waves, X-rays, lasers, radioactivity, the periodic table, chemistry, physics, biology, geology, astronomy,
        botany, zoology, ecology
    """,
    "the body": """
        the heart, the brain, the lungs, the stomach, the liver, the kidneys, blood, bones, muscles, skin, hair,
        teeth, eyes, ears, the nose, the tongue, hands, feet, fingers, nerves, the spine, sleep, dreams, memory,
        breathing, digestion, allergies, fever, the common cold, pain, yawning, taste, balance, ageing
    """,
    "mathematics": """
        circles, triangles, squares, fractions, prime numbers, zero, percentages, angles, cubes, pyramids, spheres,
        algebra, geometry, statistics, probability, multiplication, division, infinity, pi, decimals, graphs,
        symmetry, Roman numerals, measuring
    """,
    "history": """
        the Roman Empire, ancient Egypt, ancient Greece, the Middle Ages, the Renaissance, the Vikings, the Aztecs,
        the Incas, the Maya, the Stone Age, the Bronze Age, the Ice Age, the French Revolution, the Industrial
        Revolution, the American Civil War, the First World War, the Second World War, the Cold War, the Black
        Death, the Silk Road, the Ottoman Empire, the British Empire, the Mongol Empire, the Age of Discovery, the
        Gold Rush, the Moon landing, the Berlin Wall, the Great Wall of China, pharaohs, knights, samurai, pirates,
        gladiators, castles, mummies, explorers, kings, queens, emperors, the Magna Carta, the Crusades, cave
        paintings, the Titanic
    """,
    "countries": """
        France, Germany, Italy, Spain, Portugal, Greece, Norway, Sweden, Finland, Iceland, Ireland, Scotland,
        Poland, Austria, Switzerland, Hungary, Turkey, Russia, China, Japan, India, Thailand, Vietnam, Indonesia,
        Australia, New Zealand, Egypt, Morocco, Kenya, Nigeria, South Africa, Brazil, Argentina, Chile, Peru,
        Mexico, Canada, Cuba, Jamaica, Denmark, Belgium, Croatia, Mongolia, Nepal, Madagascar, Ethiopia, Colombia,
        Israel, Iran
    """,
    "cities": """
        Paris, London, Rome, Berlin, Madrid, Lisbon, Athens, Vienna, Prague, Venice, Istanbul, Moscow, Cairo,
        Jerusalem, Tokyo, Beijing, Sydney, New York, Chicago, Rio de Janeiro, Buenos Aires, Amsterdam, Dublin,
        Edinburgh, Stockholm, Budapest, Singapore, Hong Kong, Mumbai, Los Angeles
    """,
    "transport": """
        bicycles, trains, cars, buses, trams, ships, submarines, sailing boats, canoes, aeroplanes, helicopters,
        balloons, rockets, motorcycles, lorries, tractors, ambulances, fire engines, bridges, tunnels, canals,
        railways, motorways, airports, harbours, lighthouses, lifts, escalators, skateboards, wheels, engines,
        tyres, anchors, parachutes, traffic lights, ferries, underground railways, cable cars, taxis
    """,
    "technology": """
        computers, telephones, televisions, radios, cameras, robots, the internet, batteries, light bulbs, clocks,
        watches, compasses, thermometers, microscopes, telescopes, calculators, printers, keyboards, microwaves,
        refrigerators, vacuum cleaners, washing machines, ovens, sewing machines, windmills, dams, solar panels,
        nuclear power, wind turbines, video games, emails, passwords, barcodes, maps, drones, artificial limbs,
        hearing aids, printing presses, steam engines, fax machines, typewriters, search engines
    """,
    "things": """
        chairs, tables, beds, lamps, candles, carpets, curtains, doors, windows, keys, locks, knives, forks, spoons,
        plates, cups, bottles, baskets, umbrellas, hats, shoes, socks, gloves, coats, buttons, zips, spectacles,
        rings, necklaces, wallets, coins, banknotes, stamps, postcards, letters, pencils, pens, scissors, hammers,
        nails, screws, saws, ladders, ropes, needles, brooms, toothbrushes, towels, pillows, blankets, toys, dolls,
        kites, puzzles, matches, combs, perfume, flags, tents, sleeping bags
    """,
    "sport and games": """
        football, basketball, tennis, golf, baseball, cricket matches, rugby, hockey, volleyball, swimming, running,
        skiing, skating, surfing, boxing, judo, karate, fencing, archery, rowing, cycling, gymnastics, wrestling,
        climbing, diving, badminton, table tennis, bowling, the Olympic Games, marathons, chess, draughts, dominoes,
        playing cards, dice, darts, billiards, hide and seek, juggling, yoga, fishing, hiking, horse racing,
        snowboarding, polo, crossword puzzles
    """,
    "music and arts": """
        pianos, violins, guitars, drums, flutes, trumpets, harps, organs, saxophones, bagpipes, choirs, orchestras,
        opera, jazz, rock music, folk songs, ballet, tango, theatre, films, cartoons, comics, novels, poems, fairy
        tales, fables, myths, paintings, sculptures, photographs, pottery, mosaics, tattoos, architecture, museums,
        libraries, newspapers, dictionaries, magic tricks, circuses, puppets, Shakespeare, Mozart, Beethoven,
        Leonardo da Vinci, Picasso, Van Gogh, Bach, Homer, Dickens
    """,
    "society": """
        money, banks, taxes, schools, universities, hospitals, police, firefighters, doctors, dentists, farmers,
        bakers, pilots, astronauts, judges, lawyers, teachers, engineers, soldiers, sailors, cooks, tailors,
        markets, shops, restaurants, hotels, elections, parliaments, presidents, laws, prisons, passports, borders,
        languages, alphabets, sign language, Latin, Braille, names, birthdays, weddings, holidays, Christmas,
        Easter, Halloween, New Year, calendars, the week, postal services, recycling, zoos, parks, playgrounds,
        gardens, farms, cities, villages, houses, skyscrapers, bathrooms, kitchens, churches, temples, mosques
    """,
    "thinkers and travellers": """
        Albert Einstein, Isaac Newton, Charles Darwin, Galileo, Marie Curie, Aristotle, Plato, Archimedes, Julius
        Caesar, Cleopatra, Napoleon, Christopher Columbus, Marco Polo, Alexander the Great, Abraham Lincoln, Mahatma
        Gandhi, Nelson Mandela, Joan of Arc, Queen Victoria, Florence Nightingale, Alexander Graham Bell, Thomas
        Edison, Louis Pasteur, Nikola Tesla, Copernicus, Gutenberg
    """,
}


def subjects() -> list[str]:
    """Return every subject once, in the order of the families."""
    return [" ".join(one.split()) for family in FAMILIES.values() for one in family.split(",")]
